"""A transformer's ONNX file in eight bits: a quarter of the size, and quicker where the processor multiplies bytes.

Weights are rounded by output channel, activations as they come ("dynamic"). Networks of convolutions need the ranges of
their activations beforehand: `leukoscope.train.quantise`.
"""

import importlib.util
import logging
import tempfile
from pathlib import Path

from leukoscope.errors import ModelError


def write_int8(source: str | Path, target: str | Path) -> str:
    """Write the matrix products of the ONNX file `source` in eight bits as `target`; returns how: "dynamic".

    What that costs is for the caller to measure. ModelError where the tools are not installed or the graph can't be
    quantised.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ModelError("eight bits need the package onnx, which is not installed: pip install 'leukoscope[train]'")
    from onnxruntime import quantization as q

    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # its advice is for people who call it by hand
    try:
        with tempfile.TemporaryDirectory() as work:
            ready = Path(work) / "ready.onnx"
            q.shape_inference.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            # A patch embedding is one convolution in a hundred products: it stays. Weights get seven bits, for a
            # processor without VNNI adds pairs of products in sixteen, which eight would overflow.
            q.quantize_dynamic(
                ready, target, weight_type=q.QuantType.QInt8, per_channel=True, reduce_range=True,
                op_types_to_quantize=["MatMul", "Gemm"],
            )  # fmt: skip
            return "dynamic"
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"{source} can't be written in eight bits: {str(error).splitlines()[0]}") from None
    finally:
        quiet.setLevel(level)

"""A network's ONNX file in eight bits: a quarter of the size, and quicker where the processor multiplies bytes.

Transformers keep their activations in float and round them as they come ("dynamic"); convolutions need the ranges of
their activations beforehand, from examples ("static"). Weights are rounded by output channel in both.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leukoscope.errors import ModelError

MOST_EXAMPLES = 64  # whose ranges are looked at; more move them little


def write_int8(source: str | Path, target: str | Path, *, examples: Sequence[dict[str, np.ndarray]] = ()) -> str:
    """Write the ONNX file `source` in eight bits as `target`; returns "static" or "dynamic".

    examples  inputs by name, a row or more each, as the model sees them in use; none: dynamic
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
            if not examples:
                kinds = ["MatMul", "Gemm"]  # a patch embedding is one convolution in a hundred products
                how = {"weight_type": q.QuantType.QInt8, "per_channel": True, "op_types_to_quantize": kinds}
                q.quantize_dynamic(ready, target, **how)
                return "dynamic"
            q.quantize_static(
                ready, target, _Examples(examples[:MOST_EXAMPLES]), quant_format=q.QuantFormat.QDQ, per_channel=True,
                activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
            )  # fmt: skip
            return "static"
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"{source} can't be written in eight bits: {str(error).splitlines()[0]}") from None
    finally:
        quiet.setLevel(level)


class _Examples:
    """What the quantiser reads its examples from: `get_next` gives one, None at the end."""

    def __init__(self, examples: Sequence[dict[str, np.ndarray]]) -> None:
        self._left = iter(examples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

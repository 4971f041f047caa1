"""An ONNX graph in eight bits: static QDQ by ONNX Runtime's own quantiser, with what it needs to gain anything.

What was tried stands in docs/log.md: Clip and Relu must be among the quantised types, else each convolution goes back
to float for its activation; the first convolutions see pixels and the last ones give the answers, they stay in float,
and so does what only scales or shifts by constants.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leukoscope.errors import InputError, ModelError
from leukoscope.train.quantise_weights import round_weights

LOOKED_AT = 40  # pictures that weights are rounded on
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_TYPES = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "AveragePool", "MaxPool",
          "Concat", "Resize", "Sigmoid", "HardSigmoid")  # fmt: skip


def quantise_graph(source: Path, out: Path, pictures: Sequence[dict[str, np.ndarray]]) -> list[str]:
    """Write `source` with weights and activations in eight bits to `out`; the names of the nodes left in float.

    pictures  inputs by name, one call each: the ranges of activations are those that they show, and convolutions are
              rounded so that they answer as before on the first LOOKED_AT of them, spread evenly
    Weights are quantised a channel in seven bits (quantise.py says why), activations a tensor in eight, between the
    least and the greatest value seen.
    InputError where the package onnx is missing, ModelError where ONNX Runtime can't quantise the graph.
    """
    try:
        import onnx
        from onnxruntime.capi import onnxruntime_pybind11_state as ort
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError:
        raise InputError(
            "quantising needs the package onnx, which comes with an extra: pip install 'leukoscope[train]'"
        ) from None
    with tempfile.TemporaryDirectory() as work:
        plain = Path(work) / "plain.onnx"
        try:
            _folded(source, plain)
            left = _left_in_float(plain)
            model = onnx.load(plain)
            inner = [node.name for node in model.graph.node if node.name not in left]
            steps = round_weights(model, inner, pictures[:: -(-len(pictures) // LOOKED_AT) or 1])
            with _quietly():
                quantize_static(
                    model,
                    str(out),
                    _Reader(pictures),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(_TYPES),
                    nodes_to_exclude=left,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    extra_options={"TensorQuantOverrides": _as_rounded(steps, QuantType.QInt8)},
                )
        except (ort.Fail, ort.InvalidGraph, ort.InvalidProtobuf, ort.NotImplemented, RuntimeError, ValueError) as error:
            raise ModelError(f"{source} can't be quantised: {str(error).splitlines()[0]}") from None
    return left


def _as_rounded(steps: dict[str, np.ndarray], kind: Any) -> dict[str, list[dict]]:
    """What tells ONNX Runtime to take the steps that the weights are whole numbers of, not its own."""
    said = {n: [{"quant_type": kind, "scale": s, "zero_point": np.int8(0)} for s in step] for n, step in steps.items()}
    for channels in said.values():
        channels[0]["axis"] = 0
    return said


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the quantiser's advice to fold constants first, which is done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _folded(source: Path, out: Path) -> None:
    """The graph with its constants folded (weights kept in sixteen bits become floats) and nothing fused."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _left_in_float(path: Path) -> list[str]:
    """Names of the nodes that are not quantised though they could be; in the file all nodes get names.

    These are those with no weighted node before them, or none behind them: the first and the last weighted ones, and
    what is done with pixels and with answers, for places in px, added up in 256 steps over the whole picture, would
    jump by two and a half px. And sums and products with a constant, as normalisations have them: each would be
    rounded once more, before the activation behind it is.
    """
    import onnx

    model = onnx.load(path)
    nodes = model.graph.node
    for number, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type}_{number}"
    onnx.save(model, path)
    weighted = {n.name for n in nodes if n.op_type in _WEIGHTED}
    maker = {output: node for node in nodes for output in node.output}
    before = {node.name: [maker[i].name for i in node.input if i in maker] for node in nodes}
    after: dict[str, list[str]] = {node.name: [] for node in nodes}
    for name, earlier in before.items():
        for other in earlier:
            after[other].append(name)

    def at_an_end(links: dict[str, list[str]], order: Sequence[str]) -> set[str]:
        reached: set[str] = set()  # nodes with a weighted one on the way to them
        for name in order:
            if any(other in reached or other in weighted for other in links[name]):
                reached.add(name)
        return set(order) - reached

    names = [node.name for node in nodes]  # ONNX lists a node behind those it needs
    left = at_an_end(before, names) | at_an_end(after, names[::-1])
    constant = {i.name for i in model.graph.initializer}
    left |= {n.name for n in nodes if n.op_type in ("Add", "Mul") and constant & set(n.input)}
    return sorted(node.name for node in nodes if node.name in left and node.op_type in _TYPES)


class _Reader:
    """What ONNX Runtime's calibration asks for the next picture."""

    def __init__(self, pictures: Iterable[dict[str, np.ndarray]]) -> None:
        self._pictures: Iterator[dict[str, np.ndarray]] = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._pictures, None)

"""An ONNX graph in eight bits: static QDQ by ONNX Runtime's own quantiser, with what it needs to gain anything.

What was tried stands in docs/log.md: Clip and Relu must be among the quantised types, else each convolution goes back
to float for its activation; the first convolutions see pixels and the last ones give the answers, they stay in float.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from leukoscope.errors import InputError, ModelError

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_TYPES = ("Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Relu", "GlobalAveragePool", "AveragePool", "MaxPool",
          "Concat", "Resize", "Sigmoid", "HardSigmoid")  # fmt: skip


def quantise_graph(source: Path, out: Path, pictures: Iterable[dict[str, np.ndarray]]) -> list[str]:
    """Write `source` with weights and activations in eight bits to `out`; the names of the nodes left in float.

    pictures  inputs by name, one call each: the ranges of activations are those that they show
    Weights are quantised a channel in seven bits (quantise.py says why), activations a tensor in eight, between the
    least and the greatest value seen.
    InputError where the package onnx is missing, ModelError where ONNX Runtime can't quantise the graph.
    """
    try:
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
            left = _ends(plain)
            with _quietly():
                quantize_static(
                    str(plain),
                    str(out),
                    _Reader(pictures),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(_TYPES),
                    nodes_to_exclude=left,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
        except (ort.Fail, ort.InvalidGraph, ort.InvalidProtobuf, ort.NotImplemented, RuntimeError, ValueError) as error:
            raise ModelError(f"{source} can't be quantised: {str(error).splitlines()[0]}") from None
    return left


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


def _ends(path: Path) -> list[str]:
    """Names of the nodes that have no weighted one before them, or none behind them; in the file all get names.

    These are the first and the last weighted ones, and what is done with pixels and with answers: places in px, added
    up in 256 steps over the whole picture, would jump by two and a half px.
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
    ends = at_an_end(before, names) | at_an_end(after, names[::-1])
    return sorted(node.name for node in nodes if node.name in ends and node.op_type in _TYPES)


class _Reader:
    """What ONNX Runtime's calibration asks for the next picture."""

    def __init__(self, pictures: Iterable[dict[str, np.ndarray]]) -> None:
        self._pictures: Iterator[dict[str, np.ndarray]] = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._pictures, None)

"""From a network to an ONNX file that computes the same: the one exporter, which always compares the two."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.runtime import session_options

OPSET = 18  # the oldest that torch's newer exporter writes; ONNX Runtime reads it since 1.14, we ask for 1.18
# How far an output may lie from torch's: logits and probabilities as shares of their largest, boxes in px.
ALLOWED = {"logits": 1e-4, "features": 1e-4, "attributes": 1e-4, "probs": 1e-3, "scores": 1e-3, "boxes": 0.5}
BOXES_COMPARED = 0.5  # share of the best boxes: at the end of the list a rounding decides which is the last


def export_graph(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    path: str | Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    rows: bool = False,
    traced: bool = False,
    free: dict[str, dict[int, str]] | None = None,
    halved: bool = False,
    checked: tuple[np.ndarray, ...] | None = None,
) -> None:
    """Write `graph` as one ONNX file, run it on ONNX Runtime, and compare; ModelError where it differs from torch.

    example  what the graph is made for, on the processor; rows: any number of rows of it
    traced   by torch's older exporter: seconds for plain graphs, where the newer one takes half a minute
    free     of a traced graph: names of the axes of inputs that may have other lengths than the example's
    halved   weights that sixteen bits hold are stored so (`store_halved`)
    checked  what the two are compared on; None: noise of the example's shape
    """
    path, graph = Path(path), graph.eval()
    shapes = {name: {0: "n"} for name in (*inputs, *outputs)} if rows else free
    options: dict = {"dynamo": False, "dynamic_axes": shapes}
    if not traced:
        options = {"dynamo": True, "external_data": False, "verbose": False}
        if rows:
            n = torch.export.Dim("n", min=1, max=1024)
            options["dynamic_shapes"] = {name: {0: n} for name in inputs}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, and its notes on constants
        torch.onnx.export(
            graph,
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            **options,
        )
    if halved:
        store_halved(path)
    drop_traces(path)
    check_graph(graph, checked or _noise(example), path, inputs=inputs, outputs=outputs)


def drop_traces(path: str | Path) -> None:
    """Take out of an ONNX file what the exporter notes of the machine that it ran on: stack traces with its folders."""
    import onnx

    proto = onnx.load(str(path))
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(proto, str(path))


def round_to_half(model: nn.Module, *, least_dims: int = 4) -> nn.Module:
    """Round the weights of convolutions (with least_dims=1 all weights) in place to what sixteen bits hold, so that
    `store_halved` loses nothing; returns the model."""
    for parameter in model.parameters():
        if parameter.dim() >= least_dims:
            parameter.data = parameter.data.half().float()
    return model


def store_halved(path: str | Path) -> None:
    """Store those weights of an ONNX file in sixteen bits that these hold exactly, each with a node that widens it.

    ONNX Runtime widens them once, when the model is loaded, and computes as before.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load(str(path))
    casts = []
    for stored in proto.graph.initializer:
        value = numpy_helper.to_array(stored)
        if value.dtype != np.float32 or value.size < 256 or np.abs(value).max() > np.finfo(np.float16).max:
            continue
        if not np.array_equal(value, value.astype(np.float16)):
            continue
        stored.CopyFrom(numpy_helper.from_array(value.astype(np.float16), stored.name))
        widened = f"{stored.name}.widened"  # weights keep their names: adapting reads them by these
        casts.append(helper.make_node("Cast", [stored.name], [widened], to=TensorProto.FLOAT))
        for node in proto.graph.node:
            node.input[:] = [widened if name == stored.name else name for name in node.input]
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _noise(example: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    """Arrays of the example's shapes: random pixels, other inputs as they are."""
    rng = np.random.default_rng(0)
    return tuple(
        rng.integers(0, 256, tuple(t.shape), np.uint8) if t.dtype == torch.uint8 else t.numpy() for t in example
    )


def check_graph(
    graph: nn.Module, arrays: tuple[np.ndarray, ...], path: Path, *, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Run an ONNX file on arrays beside the network it is of; where the two differ the file goes and ModelError says
    by how much."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), session_options(), providers=["CPUExecutionProvider"])
    got = session.run(list(outputs), dict(zip(inputs, arrays, strict=True)))
    with torch.no_grad():
        expected = graph(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))
    expected = [t.numpy() for t in (expected if isinstance(expected, tuple) else (expected,))]
    if "boxes" in outputs:
        apart = {"boxes and scores": _boxes_apart(expected, got)}
    else:
        apart = {n: _apart(e, g) / ALLOWED[n] for n, e, g in zip(outputs, expected, got, strict=True)}
    for name, times in apart.items():
        if not times <= 1:
            path.unlink()
            raise ModelError(
                f"{path}: {name} differ from torch's by {times:.1e} times what is allowed ({ALLOWED}): this network "
                f"can't be exported faithfully by torch {torch.__version__}"
            )


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest number (of 1 where all are small)."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max(initial=0) / max(1.0, float(np.abs(a).max(initial=0))))


def _boxes_apart(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """How far torch's best boxes lie at most from their nearest ones of ONNX Runtime, in times of what is allowed.

    Boxes of nearly equal score may change places, so no order is asked for.
    """
    (boxes, scores), (their_boxes, their_scores) = ([x.reshape(len(x), -1) for x in part] for part in (expected, got))
    # Points that are no peak score nothing at all, and which of them fill up the list is as good as chance.
    n = max(1, min(int(BOXES_COMPARED * len(boxes)), int((scores.max(1) > 0).sum())))
    sides = np.abs(boxes[:n, None] - their_boxes).max(2) / ALLOWED["boxes"]
    chances = np.abs(scores[:n, None] - their_scores).max(2) / ALLOWED["scores"]
    return float(np.maximum(sides, chances).min(1).max())

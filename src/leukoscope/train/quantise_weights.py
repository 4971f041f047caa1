"""Weights of convolutions rounded one after the other, each error made up for by those that are not rounded yet.

After E. Frantar and others, GPTQ (ICLR 2023), section 3: of all ways to round a layer's weights that which changes its
outputs on training pictures least, found greedily. Rounding each weight to its nearest step leaves 2 to 100 times as
much of the outputs' squared error (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    import onnx

STEPS = 64  # seven bits with a sign: 2 · 255 · 64 < 2¹⁵ (quantise.py says why)
POSITIONS = 96  # of a layer's outputs in a picture that its inputs are looked at
DAMPING = 0.01  # of the mean square of a layer's inputs, added to each of them, against chance among few pictures
_BLOCK = 64  # weights whose errors are handed on together


def round_weights(
    model: onnx.ModelProto, names: Iterable[str], pictures: Iterable[dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Round in place the weights of those nodes of `names` that are plain convolutions; the steps by weight's name.

    names     nodes; what is no Conv with kernels (O, C, h, w) in the file itself, without dilation, stays as it is
    pictures  inputs by name, one call each
    A step is (O,) float32, one an output channel: each weight is a whole number of them, at most 64 either way.
    """
    from onnx import numpy_helper

    stored = {i.name: i for i in model.graph.initializer}
    chosen = set(names)
    nodes = [n for n in model.graph.node if n.name in chosen and _is_plain(n, stored)]
    kernels = {n.input[1]: numpy_helper.to_array(stored[n.input[1]]).astype(np.float64) for n in nodes}
    steps = {}
    for name, moments in _moments(model, nodes, kernels, pictures).items():
        rows = kernels[name].reshape(len(moments), -1, moments.shape[-1])
        step = np.maximum(np.abs(rows).max(2), 1e-12) / STEPS
        rounded = (_rounded(rows, moments, step) * step[..., None]).reshape(kernels[name].shape)
        stored[name].CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), name))
        steps[name] = step.reshape(-1).astype(np.float32)
    return steps


def _settings(node: onnx.NodeProto) -> tuple[list[int], list[int], int]:
    """Pads (top, left, bottom, right), strides (down, right) and groups of a convolution."""
    from onnx import helper

    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return list(said.get("pads", [0] * 4)), list(said.get("strides", [1, 1])), int(said.get("group", 1))


def _is_plain(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> bool:
    from onnx import helper

    if node.op_type != "Conv" or node.input[1] not in stored or len(stored[node.input[1]].dims) != 4:
        return False
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return set(said.get("dilations", [1])) == {1} and said.get("auto_pad", b"NOTSET") == b"NOTSET"


def _moments(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    kernels: dict[str, np.ndarray],
    pictures: Iterable[dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Sums of products of each layer's inputs (G, D, D), by weight's name, over pictures and places; G groups."""
    import onnx
    import onnxruntime as ort

    seen = sorted({n.input[0] for n in nodes} - {i.name for i in model.graph.input})
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    have = {o.name for o in shown.graph.output}
    for name in seen:
        if name not in have:
            shown.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, sums = np.random.default_rng(0), {}
    for given in pictures:
        got = given | (dict(zip(seen, session.run(seen, given), strict=True)) if seen else {})  # no name means all
        for node in nodes:
            x = _inputs(got[node.input[0]], node, kernels[node.input[1]].shape, rng)
            sums[node.input[1]] = sums.get(node.input[1], 0.0) + (x.transpose(0, 2, 1) @ x).astype(np.float64)
    return sums


def _inputs(values: np.ndarray, node: onnx.NodeProto, kernel: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """What a convolution multiplies at some of its places (G, places, D), from its input (N, C, H, W)."""
    (top, left, bottom, right), (down, across), groups = _settings(node)
    values = np.pad(values.astype(np.float32), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(values, kernel[2:], axis=(2, 3))[:, :, ::down, ::across]
    n, channels, height, width = windows.shape[:4]
    places = rng.choice(n * height * width, min(POSITIONS * n, n * height * width), replace=False)
    picture, place = np.divmod(places, height * width)
    chosen = windows[picture, :, place // width, place % width]  # (places, C, h, w)
    return chosen.reshape(len(places), groups, -1).transpose(1, 0, 2)


def _rounded(rows: np.ndarray, moments: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Whole numbers (G, R, D) for rows of weights, of which `step` (G, R) is one: the loudest inputs' weights first."""
    size = moments.shape[-1]
    loud = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(-loud, axis=1, kind="stable")
    damped = moments + (DAMPING * loud.mean(1) + 1e-9)[:, None, None] * np.eye(size)
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    share = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)  # of an error, by later weight
    rest = np.take_along_axis(rows, order[:, None, :], 2)
    whole = np.empty_like(rest)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty_like(rest[:, :, start:end])
        for at in range(start, end):
            whole[:, :, at] = np.clip(np.rint(rest[:, :, at] / step), -STEPS, STEPS)
            error = (rest[:, :, at] - whole[:, :, at] * step) / share[:, None, at, at]
            rest[:, :, at:end] -= error[..., None] * share[:, None, at, at:end]
            errors[:, :, at - start] = error
        rest[:, :, end:] -= errors @ share[:, start:end, end:]
    back = np.empty_like(whole)
    np.put_along_axis(back, np.broadcast_to(order[:, None, :], whole.shape), whole, 2)
    return back

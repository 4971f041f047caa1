"""A model in eight bits: what is left in float, what a card says of the loss, and that no processor can overflow."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import make_model
from data.make_checked_set import make_checked_set

from leukoscope.cli import main
from leukoscope.dataset.manifest import write_dataset
from leukoscope.geometry import box_iou
from leukoscope.images import read_field
from leukoscope.locate import locate_balanced, prepare
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session
from leukoscope.types import FieldKey

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from leukoscope.train.quantise_graph import quantise_graph  # noqa: E402
from leukoscope.train.quantise_weights import STEPS, round_weights  # noqa: E402


def deepen(folder: Path, tensor: str, *, most: float, channels_last: bool) -> None:
    """Put five convolutions that change nothing behind a tensor of three colours between 0 and `most`."""
    path = folder / "model.onnx"
    model = onnx.load(path)
    graph = model.graph
    at = next(n for n, node in enumerate(graph.node) if tensor in node.output)
    maker = graph.node[at]
    maker.output[list(maker.output).index(tensor)] = "d0"
    graph.initializer.append(numpy_helper.from_array(np.eye(3, dtype=np.float32)[..., None, None], "same"))
    for name, value in (("least", 0.0), ("most", most)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), f"d_{name}"))
    nodes, now = [], "d0"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [now], ["dt"], perm=[0, 3, 1, 2]))
        now = "dt"
    for layer in range(1, 6):
        nodes.append(helper.make_node("Conv", [now, "same"], [f"c{layer}"], name=f"deep{layer}"))
        act = ("Relu", [f"c{layer}"]) if layer % 2 else ("Clip", [f"c{layer}", "d_least", "d_most"])
        nodes.append(helper.make_node(*act, [f"d{layer}"]))
        now = f"d{layer}"
    back = [helper.make_node("Transpose", [now], [tensor], perm=[0, 2, 3, 1])] if channels_last else [
        helper.make_node("Identity", [now], [tensor])]  # fmt: skip
    for place, node in enumerate([*nodes, *back], at + 1):
        graph.node.insert(place, node)
    onnx.save(model, path)
    card = json.loads((folder / "card.json").read_text())
    card["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A model of several convolutions, and a data set with splits train and val."""
    folder = tmp_path_factory.mktemp("quantise")
    make_model(folder / "model", words=True)
    deepen(folder / "model" / "locator", "dark", most=1.0, channels_last=False)
    deepen(folder / "model" / "classifier", "raw", most=255.0, channels_last=True)
    drawn = make_checked_set(folder / "drawn", n_fields=9)
    # What a source says of a cell need not be what the model has words for.
    told = [replace(f, cells=tuple(replace(c, attributes=(("pose", "left"),)) for c in f.cells)) for f in drawn.fields]
    write_dataset(replace(drawn, fields=tuple(told)), folder / "drawn" / "set")
    return folder


@pytest.fixture(scope="module")
def quantised(work) -> Path:
    data = str(work / "drawn" / "set")
    assert main(["models", "quantise", str(work / "model"), "--data", data, "--out", str(work / "int8")]) == 0
    return work / "int8"


def graph_of(folder: Path):
    return onnx.load(folder / "model.onnx").graph


def test_the_model_answers_as_before_and_its_cards_say_what_was_lost(work, quantised):
    before, after = find_model(work / "model"), find_model(quantised)
    assert set(after) == {"locate", "classify"}
    located, called = after["locate"].card, after["classify"].card
    assert located.name == before["locate"].card.name + "-int8" and not located.results
    loss = located.training["quantised"]["loss"]
    assert loss["after"]["fields with as many cells"] == 1.0 and loss["after"]["overlap of their boxes"] > 0.9
    said = called.training["quantised"]
    assert said["from"]["onnx_sha256"] == before["classify"].card.onnx_sha256
    assert said["loss"]["after"]["same call"] >= 0.95
    assert [d["n_fields"] for d in said["calibrated_on"]] == [3] == [d["n_fields"] for d in said["measured_on"]]
    assert np.sum(called.confusion["counts"]) > 0 and any("eight bits" in limit for limit in called.limits)
    assert main(["models", "show", str(quantised)]) == 0


def test_one_part_alone_is_quantised_and_the_other_stays(work, tmp_path):
    data, out = str(work / "drawn" / "set"), tmp_path / "half"
    words = ["models", "quantise", str(work / "model"), "--data", data, "--out", str(out), "--only", "locate"]
    assert main(words) == 0
    before, after = find_model(work / "model"), find_model(out)
    assert before["classify"].card == after["classify"].card
    assert "quantised" in after["locate"].card.training and "quantised" not in before["locate"].card.training


def test_ends_stay_in_float_and_weights_cannot_overflow(quantised):
    for part in ("locator", "classifier"):
        graph = graph_of(quantised / part)
        weights = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT8]
        assert weights and all(np.abs(w.astype(int)).max() <= 64 for w in weights)  # 2 · 255 · 64 < 2¹⁵
        card = find_model(quantised)["locate" if part == "locator" else "classify"].card
        left = card.training["quantised"]["left_in_float"]
        assert "deep1" in left and not {"deep2", "deep3", "deep4"} & set(left)


def test_what_is_done_with_pixels_and_with_answers_stays_in_float(tmp_path):
    """Places in px, added up behind the last convolution, are not rounded to 256 steps over the whole picture."""
    value, n = helper.make_tensor_value_info, [1, 1, 8, 8]
    kernel = numpy_helper.from_array(np.full((1, 1, 1, 1), 1.0, np.float32), "kernel")
    scale = numpy_helper.from_array(np.float32(100), "scale")
    nodes = [helper.make_node("Mul", ["x", "scale"], ["a"], name="pixels")]
    nodes += [
        helper.make_node("Conv", [f"{chr(97 + k)}", "kernel"], [f"{chr(98 + k)}"], name=f"conv{k}") for k in range(3)
    ]
    nodes += [
        helper.make_node("Relu", ["d"], ["e"], name="last"),
        helper.make_node("Mul", ["e", "scale"], ["y"], name="places"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", 1, n)], [value("y", 1, n)], [kernel, scale])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    shown = [{"x": np.random.default_rng(k).uniform(0, 9, n).astype(np.float32)} for k in range(3)]
    left = quantise_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", shown)
    assert left == ["conv0", "conv2", "last", "pixels", "places"]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_rounded_weights_make_up_for_one_anothers_errors(groups):
    """On inputs that go together, as neighbouring pixels do, outputs change far less than by rounding each weight."""
    rng = np.random.default_rng(0)
    kernels = rng.normal(size=(6, 6 // groups, 3, 3)).astype(np.float32)
    model = convolutions(kernels, groups=groups)

    def shown(n: int) -> list[dict[str, np.ndarray]]:
        coarse = rng.normal(size=(n, 1, 6, 4, 4)).repeat(4, 3).repeat(4, 4)
        return [{"x": (one + rng.normal(size=(1, 6, 16, 16)) / 30).astype(np.float32)} for one in coarse]

    rounded = onnx.ModelProto.FromString(model.SerializeToString())
    step = round_weights(rounded, ["plain", "dilated"], shown(30))["w"]
    whole = numpy_helper.to_array(rounded.graph.initializer[0]) / step[:, None, None, None]
    assert np.allclose(whole, whole.round(), atol=1e-3) and np.abs(whole).max() <= STEPS + 1e-3
    assert rounded.graph.initializer[1] == model.graph.initializer[1]  # a dilated one stays as it is
    steps = step[:, None, None, None]
    nearest = convolutions((kernels / steps).round() * steps, groups=groups)
    others, wanted = shown(10), model
    errors = [sum(((a - b) ** 2).sum() for a, b in zip(answers(m, others), answers(wanted, others), strict=True))
              for m in (rounded, nearest)]  # fmt: skip
    assert errors[0] < 0.6 * errors[1]


def convolutions(kernels: np.ndarray, *, groups: int):
    """A graph of a convolution with these kernels, "plain", and of a dilated one beside it."""
    value, size = helper.make_tensor_value_info, [1, 6, 16, 16]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="plain", pads=[1] * 4, group=groups),
        helper.make_node("Conv", ["x", "v"], ["z"], name="dilated", pads=[2] * 4, dilations=[2, 2]),
    ]
    stored = [numpy_helper.from_array(kernels, "w"), numpy_helper.from_array(np.ones((6, 6, 3, 3), np.float32), "v")]
    outputs = [value(name, 1, size) for name in "yz"]
    graph = helper.make_graph(nodes, "g", [value("x", 1, size)], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(model, pictures: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(["y"], one)[0] for one in pictures]


def test_the_bundled_locator_in_eight_bits_finds_as_many_cells(shared_data):
    sessions = [Session(find_model(name)["locate"]) for name in ("blood", "blood-int8")]
    for file in sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[:4]:
        view = prepare(read_field(file, FieldKey("f", "s", "p", "c", "blood")), sessions[0].card)
        first, second = (locate_balanced(view, s, tile_px=640) for s in sessions)
        assert len(first) == len(second) > 0
        assert box_iou(first.boxes, second.boxes).max(1).min() > 0.9


def test_the_same_calls_without_a_processors_own_integer_kernels(quantised):
    """Nothing fused, each number quantised and multiplied as a float: what any processor must come near to."""
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    path, on = str(quantised / "classifier" / "model.onnx"), ["CPUExecutionProvider"]
    sessions = [ort.InferenceSession(path, options, providers=on) for options in (plain, ort.SessionOptions())]
    crops = np.random.default_rng(0).integers(20, 240, (12, 1, 1, 3)).repeat(32, 1).repeat(32, 2).astype(np.uint8)
    slow, fast = (s.run(["logits"], {"pixels": crops})[0] for s in sessions)
    assert (slow.argmax(1) == fast.argmax(1)).all()


def test_bad_requests_are_one_line_and_leave_nothing(work, tmp_path, capsys):
    model, data, out = str(work / "model"), str(work / "drawn" / "set"), tmp_path / "out"
    make_checked_set(tmp_path / "train-only", n_fields=1)
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for arguments, words in (
        ([model, "--data", data, "--out", str(out)], "holds something already"),
        ([model, "--data", str(tmp_path / "train-only" / "set"), "--out", str(tmp_path / "new")], "split 'val'"),
        (["nobody", "--data", data, "--out", str(tmp_path / "new")], "no model"),
    ):
        assert main(["models", "quantise", *arguments]) != 0
        message = capsys.readouterr().err.strip()
        assert words in message and "\n" not in message
    assert [p.name for p in out.iterdir()] == ["mine.txt"] and not (tmp_path / "new").exists()


def test_a_graph_of_nothing_to_quantise_is_an_error(tmp_path):
    from leukoscope.errors import ModelError

    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="broken"):
        quantise_graph(tmp_path / "broken.onnx", tmp_path / "out.onnx", [])

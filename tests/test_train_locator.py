"""The locator's loop on small painted pictures: learns, resumes to the same weights, exports what it computes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.make_painted_set import paint_set

from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import ConfigError, DataError

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.train.config import build_config, read_toml  # noqa: E402
from leukoscope.train.locator import task as loop  # noqa: E402
from leukoscope.train.locator.data import Photo, draw_canvas  # noqa: E402
from leukoscope.train.run import train as train_to_bundle  # noqa: E402

CONFIG = """
task = "locate"
name = "small"
steps = 4
side = 64
batch_size = 2
width = 16
pretrained = false
limits = ["painted pictures only"]
"""


pytestmark = pytest.mark.usefixtures("one_thread")


def paint_dataset(folder, *, n_fields=4, classes=("lymphocyte", "lymphocyte"), name="painted"):
    """Two cells a field; returns the manifest's folder."""
    paint_set(folder, n_fields=n_fields, classes=classes, name=name)
    return folder / "set"


def write_config(folder, text=CONFIG):
    path = folder / "locator.toml"
    path.write_text(text)
    return path


def train(config_path, folders, run, **options):
    """The loop alone, as `leukoscope train` calls it (exporting takes ten times as long as these runs)."""
    values = read_toml(config_path)
    assert values.pop("task") == "locate"
    config = build_config(loop.LocatorConfig, values, config_path)
    return loop.train_locator(config, [read_dataset(f) for f in folders], run, **options)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    config = write_config(tmp_path, CONFIG.replace("steps = 4", "steps = 1"))
    train(config, [paint_dataset(tmp_path / "a")], tmp_path / "run")
    with pytest.raises(ConfigError, match="other data"):
        train(config, [paint_dataset(tmp_path / "b", n_fields=3)], tmp_path / "run", resume=True)


def test_pictures_without_cells_train(tmp_path):
    """Empty fields beside full ones (they ended others' runs), and a batch with no cell at all."""
    full, empty = paint_dataset(tmp_path / "a", n_fields=2), tmp_path / "b"
    config = loop.LocatorConfig(name="x", steps=1, side=64, batch_size=3, width=16, pretrained=False)
    empty_photo = Photo(np.full((80, 96, 3), 235, np.uint8), np.zeros((0, 4), np.float32))
    pixels, truth, cut = loop.make_batch([[empty_photo]], np.ones(1), config, 0)
    assert [len(t) for t in truth] == [0, 0, 0]
    net = loop.LocatorNet(width=16, pretrained=False)
    parts = loop.locator_loss(net, net(loop.normalise(pixels)), truth, cut)
    parts.sum().backward()
    assert torch.isfinite(parts).all() and parts[1:].tolist() == [0, 0]
    with pytest.raises(DataError, match="no white cell"):
        train(write_config(tmp_path), [full, paint_dataset(empty, classes=(), name="empty")], tmp_path / "run")


def test_the_loss_falls_and_cells_are_learnt_where_they_are(tmp_path):
    text = CONFIG.replace("steps = 4", "steps = 30").replace("pretrained = false", "pretrained = true")
    run = train(write_config(tmp_path, text + "own_colour = 1.0\n"), [paint_dataset(tmp_path)], tmp_path / "run")
    rows = (run / "log.csv").read_text().splitlines()
    assert rows[0] == "step,score_loss,overlap_loss,sides_loss,seconds" and len(rows) == 3
    overlap = [float(r.split(",")[2]) for r in rows[1:]]
    assert overlap[1] < 0.9 * overlap[0]
    record = json.loads((run / "run.json").read_text())
    assert record["data"][0]["n_fields"] == 3 and record["data"][0]["n_white_cells"] == 6  # train only, no red cells


@pytest.mark.parametrize("levels", [(8,), (8, 16, 32)])
def test_a_perfect_drawing_costs_nothing_and_is_decoded(levels):
    """Maps that draw the truth give a loss near 0, and the exported graph reads the same boxes out of them."""
    from leukoscope.models.torch_locator import ExportedLocator, LocatorNet

    net = LocatorNet(levels=levels, width=16, pretrained=False)
    truth = torch.tensor([[20.0, 30.0, 60.0, 66.0], [90.0, 10.0, 122.0, 44.0]])
    fine = levels[0]  # a side of 32 to 40 px belongs to the first level in both
    maps = []
    for level in levels:
        n = 128 // level
        logits, sides = torch.full((1, 1, n, n), -12.0), torch.ones(1, 4, n, n)
        if level == fine:
            for box in truth:
                centre = (box[:2] + box[2:]) / 2
                for row in range(n):
                    for column in range(n):
                        p = torch.tensor([column + 0.5, row + 0.5]) * level
                        if (p > box[:2]).all() and (p < box[2:]).all():
                            sides[0, :, row, column] = torch.cat([p - box[:2], box[2:] - p])
                column, row = (centre / level).long().tolist()
                logits[0, 0, row, column] = 12.0
        maps.append((logits, sides))
    parts = loop.locator_loss(net, maps, [truth], [torch.zeros(0, 4)])
    assert parts[1] < 1e-5 and parts[2] < 1e-5
    net.forward = lambda x: maps
    boxes, scores = ExportedLocator(net)(torch.zeros(1, 128, 128, 3, dtype=torch.uint8))
    order = boxes[:2, 0].argsort()
    assert torch.allclose(boxes[:2][order], truth, atol=1e-4) and (scores[:2] > 0.99).all() and scores[2] < 0.01


def test_a_box_is_the_mean_of_its_neighbours_and_small_pictures_fill_up_the_list():
    from leukoscope.models.torch_locator import TOP_K, ExportedLocator, LocatorNet

    net = LocatorNet(width=16, pretrained=False)
    logits, sides = torch.full((1, 1, 4, 8), -12.0), torch.full((1, 4, 4, 8), 10.0)
    logits[0, 0, 1, 1], logits[0, 0, 1, 2] = 2.0, 1.0
    sides[0, 2, 1, 2] = 30.0  # the neighbour sees the right side 20 px farther off, and itself stands 8 px to the right
    net.forward = lambda x: [(logits, sides)]
    boxes, scores = ExportedLocator(net)(torch.zeros(1, 32, 64, 3, dtype=torch.uint8))
    weights = torch.tensor([2.0, 1.0]).sigmoid().square()
    share = float(weights[1] / weights.sum())
    expected = torch.tensor([2 + 8 * share, 2.0, 22 + 28 * share, 22.0])
    assert torch.allclose(boxes[0], expected, atol=0.01)
    assert boxes.shape == (TOP_K, 4) and scores.shape == (TOP_K,) and (scores[33:] == 0).all()


def test_boxes_are_drawn_tighter_by_the_sides_that_are_stated(tmp_path):
    from leukoscope.models.torch_locator import LocatorNet

    net, x = LocatorNet(width=16, pretrained=False).eval(), torch.zeros(1, 3, 64, 64)
    before = net(x)[0][1].detach()
    net.draw_tighter(())
    assert torch.equal(net(x)[0][1], before)
    net.draw_tighter((0.02, 0.0, -0.1, 0.5))
    assert torch.allclose(net(x)[0][1] / before, torch.tensor([0.98, 1.0, 1.1, 0.5])[:, None, None], atol=1e-5)
    for odd in ("[0.1, 0.1]", '[0, 0, 0, "x"]', "[0, 0, 0, 1]"):
        config = write_config(tmp_path, CONFIG + f"tighter = {odd}\n")
        with pytest.raises(ConfigError, match="tighter must be four shares"):
            train(config, [], tmp_path / "run")


def test_torch_and_onnx_agree_and_the_bundle_opens(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx", reason="the exporter needs it")
    from leukoscope.models.bundle import read_bundle
    from leukoscope.models.torch_locator import ExportedLocator

    config = write_config(tmp_path, CONFIG.replace("steps = 4", "steps = 2").replace("side = 64", "side = 96"))
    run = train_to_bundle(config, [paint_dataset(tmp_path)], tmp_path / "run")
    bundle = read_bundle(run / "bundle")
    assert bundle.card.input_size == (96, 96) and 0 < bundle.card.thresholds["score"] < 1
    assert bundle.card.training["data"][0]["sha256"] and bundle.card.limits == ("painted pictures only",)
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    for shape in ((96, 96), (32, 160)):  # any multiples of 32
        pixels = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), dtype=np.uint8)
        boxes, scores = session.run(["boxes", "scores"], {"pixels": pixels})
        with torch.no_grad():
            expected = [t.numpy() for t in ExportedLocator(loop.read_locator(run)[0])(torch.from_numpy(pixels))]
        assert boxes.dtype == scores.dtype == np.float32 and boxes.shape == (len(scores), 4)
        np.testing.assert_allclose(scores, expected[1], atol=1e-4)
        sure = scores > 1e-3  # among points that score 0 the order means nothing
        assert sure.sum() >= 3
        np.testing.assert_allclose(boxes[sure], expected[0][sure], atol=0.5)


def test_canvases_keep_boxes_on_their_cells():
    """A canvas's boxes hold dark cell pixels edge to edge, whatever was cut, turned and scaled."""
    pixels = np.full((90, 120, 3), 240, np.uint8)
    pixels[30:60, 40:80] = 40
    photo = Photo(pixels, np.array([[40, 30, 80, 60]], np.float32))
    seen = 0
    for seed in range(40):
        canvas = draw_canvas([[photo]], np.ones(1), 128, np.random.default_rng(seed))
        assert canvas.pixels.shape == (128, 128, 3)
        for x0, y0, x1, y1 in canvas.boxes:
            assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
            if min(x1 - x0, y1 - y0) < 12:
                continue
            inner = canvas.pixels[round(y0) + 2 : round(y1) - 2, round(x0) + 2 : round(x1) - 2]
            assert inner.max() < 60  # nothing but the cell inside
            seen += 1
        dark = (canvas.pixels < 100).all(2)
        for x0, y0, x1, y1 in np.concatenate([canvas.boxes, canvas.cut]):
            dark[max(0, int(y0) - 2) : int(y1) + 3, max(0, int(x0) - 2) : int(x1) + 3] = False
        assert not dark.any()  # and no cell outside the boxes
    assert seen > 30

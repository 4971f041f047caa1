"""The outliner's loop on small painted pictures: learns, guesses, resumes to the same weights, exports the same."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.types import FieldKey

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.models.torch_outline import UNKNOWN, UNKNOWN_PART, outline_loss  # noqa: E402
from leukoscope.train.outliner import data  # noqa: E402
from leukoscope.train.outliner import task as loop  # noqa: E402
from leukoscope.train.run import train as train_to_bundle  # noqa: E402

SMALL = {"name": "small", "steps": 4, "size": 32, "batch_size": 3, "width": 8, "pretrained": False}
MASKS = {"painted": "masks/{stem}.png"}


pytestmark = pytest.mark.usefixtures("one_thread")


def paint_set(folder, *, name="painted", n_fields=4, contours=False):
    """Fields of 120 x 90 px with two cells that touch, masks beside them; returns the manifest's folder."""
    rng = np.random.default_rng(5)
    for part in ("images", "images/masks"):
        (folder / part).mkdir(parents=True)
    fields = []
    for i in range(n_fields):
        picture, mask = Image.new("RGB", (120, 90), (235, 225, 230)), Image.new("L", (120, 90))
        draw, draw_mask, cells = ImageDraw.Draw(picture), ImageDraw.Draw(mask), []
        for x in (12, 70):
            side = int(rng.integers(26, 36))
            y = int(rng.integers(8, 40))
            box = (float(x), float(y), float(x + side), float(y + side))
            draw.ellipse((x, y, x + side - 1, y + side - 1), fill=(170, 150, 200))
            draw_mask.ellipse((x, y, x + side - 1, y + side - 1), fill=140)
            draw.ellipse((x + 8, y + 8, x + side - 10, y + side - 10), fill=(90, 40, 140))
            draw_mask.ellipse((x + 8, y + 8, x + side - 10, y + side - 10), fill=255)
            turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            disc = np.c_[np.cos(turns), np.sin(turns)] * side / 2 + (x + side / 2, y + side / 2)
            contour = tuple(map(tuple, disc.tolist())) if contours else None
            cells.append(TruthCell(box, "lymphocyte", "x", contour))
        cells.append(TruthCell((100.0, 60.0, 115.0, 75.0), "red_cell", "RBC"))
        picture.save(folder / "images" / f"{i}.png")
        mask.save(folder / "images" / "masks" / f"{i}.png")
        key = FieldKey(f"f{i}", "s", "p", "c", "blood")
        digest = hashlib.sha256((folder / "images" / f"{i}.png").read_bytes()).hexdigest()
        fields.append(TruthField(key, f"{i}.png", digest, 120, 90, tuple(cells), split="train" if i else "val"))
    write_dataset(Dataset(name, folder / "images", tuple(fields), "CC0", "painted here", "folders"), folder / "set")
    return folder / "set"


class Killed(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """With cells of all three kinds, and guesses from the second step on."""
    sets = [
        read_dataset(paint_set(tmp_path / "a")),
        read_dataset(paint_set(tmp_path / "b", name="drawn", contours=True)),
        read_dataset(paint_set(tmp_path / "c", name="boxed")),
    ]
    config = loop.OutlinerConfig(**SMALL, masks=MASKS, guess_from=0.25, guess_iou=0.0)
    loop.train_outliner(config, sets, tmp_path / "whole")
    told = [d["learnt_from"] for d in json.loads((tmp_path / "whole" / "run.json").read_text())["data"]]
    assert told == ["masks", "contours", "boxes"]
    monkeypatch.setattr("leukoscope.train.loop.CHECKPOINT_SECONDS", -1.0)  # a checkpoint at every step

    def kill(done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        loop.train_outliner(config, sets, tmp_path / "killed", progress=kill)
    with pytest.raises(ConfigError, match="--resume"):
        loop.train_outliner(config, sets, tmp_path / "killed")
    with pytest.raises(ConfigError, match="other data"):
        loop.train_outliner(config, sets[:2], tmp_path / "killed", resume=True)
    loop.train_outliner(config, sets, tmp_path / "killed", resume=True)
    whole, resumed = (torch.load(tmp_path / r / "checkpoint.pt", weights_only=True) for r in ("whole", "killed"))
    for kind in ("model", "average"):
        assert all(torch.equal(whole[kind][k], resumed[kind][k]) for k in whole[kind]), kind


def test_masks_are_matched_with_boxes_one_to_one():
    values = np.zeros((60, 80), np.uint8)
    values[10:30, 10:30] = 140
    values[15:25, 15:25] = 250
    values[35:55, 50:70] = 130
    boxes = np.array([[48, 33, 74, 58], [8, 8, 33, 33], [0, 40, 20, 60], [12, 12, 33, 33]])  # the last: a second time
    cells = data.outlines_of_mask(values, boxes)
    found = {tuple(c.box.tolist()): c for c in cells}
    assert len(cells) == 2 and set(found) == {(10, 10, 30, 30), (50, 35, 70, 55)}
    assert np.bincount(found[10, 10, 30, 30].labels.ravel()).tolist() == [0, 300, 100]
    assert not data.outlines_of_mask(values, np.zeros((0, 4))) and not data.outlines_of_mask(values * 0, boxes)


def test_views_show_the_cell_in_its_box(tmp_path):
    """Whatever is turned, stretched and cut, dark pixels are cell, and the box is the cell's within the jitter."""
    dataset = read_dataset(paint_set(tmp_path))
    patches = data.load_patches(dataset, masks=MASKS["painted"], balance=False)
    assert len(patches) == 8 and set(np.unique(patches.labels)) == {0, 1, 2}
    labels = torch.from_numpy(np.repeat(patches.labels, 4, 0))
    pixels = torch.from_numpy(np.repeat(patches.pixels, 4, 0))
    maps, boxes = data.draw_views(labels, np.random.default_rng(0), context=0.25, size=96)
    seen, told = data.show(pixels, labels, maps, 96)
    assert seen.shape == (32, 3, 96, 96) and 0 <= seen.min() and seen.max() <= 1
    for picture, label, box in zip(seen, told, boxes, strict=True):
        dark = (picture[1] * 255 < 190)[5:-5, 5:-5]
        assert (dark & (label[5:-5, 5:-5] > 0)).sum() / (label[5:-5, 5:-5] > 0).sum() > 0.9
        assert (picture[1][label == 2] * 255).mean() < 80
        ys, xs = torch.nonzero(label > 0, as_tuple=True)
        inside = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        side = (inside[2:] - inside[:2]).max()
        assert ((box - inside).abs() < 0.23 * side + 2).all()
        assert abs(float((box[2:] - box[:2]).max()) - 64) < 1  # 96 px with a quarter of the box on either side


def test_the_box_of_a_turned_cell_is_where_the_cell_is_shown():
    """A long cell away from the patch's middle: a box turned the wrong way would miss it."""
    labels = torch.zeros(12, 160, 160, dtype=torch.uint8)
    labels[:, 50:66, 40:110] = 1
    maps, boxes = data.draw_views(labels, np.random.default_rng(1), context=0.25, size=96)
    _, told = data.show(torch.zeros(12, 160, 160, 3, dtype=torch.uint8), labels, maps, 96)
    for label, box in zip(told, boxes, strict=True):
        ys, xs = torch.nonzero(label, as_tuple=True)
        inside = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert ((box - inside).abs() < 0.23 * 64 + 2).all()
        assert (box[:2] < inside[:2] + 6).all() and (box[2:] > inside[2:] - 6).all()


def test_a_guess_lies_on_the_patch_and_must_fill_its_box():
    """A network that says nucleus right of the crop's middle: the labels come back in the patch's own pixels, and tell
    cell but no nucleus, which the box can't test."""
    config = loop.OutlinerConfig(**SMALL | {"size": 64})

    def half(x, boxes):
        logits = torch.full((len(x), 3, 64, 64), -9.0)
        logits[:, 0, :, :32] = 9
        logits[:, 2, :, 32:] = 9
        logits[:, :, :8] = 0  # not sure of the first rows
        return logits

    boxes = torch.tensor([[40.0, 60, 120, 140], [40.0, 60, 120, 140]])
    labels, weights = loop.guess_labels(half, torch.zeros(2, 160, 160, 3, dtype=torch.uint8), boxes, config)
    assert labels.shape == (2, 160, 160) and set(labels.unique().tolist()) == {0, UNKNOWN_PART, UNKNOWN}
    assert (labels[0, 80:150, 82:138] == UNKNOWN_PART).all() and (labels[0, 80:150, :78] == 0).all()
    assert (labels[0, 42:52, 30:130] == UNKNOWN).all() and (labels[0, :38] == 0).all()
    assert weights.tolist() == [0, 0]
    easy = loop.OutlinerConfig(**SMALL | {"size": 64}, guess_iou=0.3)
    assert loop.guess_labels(half, torch.zeros(2, 160, 160, 3, dtype=torch.uint8), boxes, easy)[1].tolist() == [1, 1]


def test_the_loss_knows_what_is_not_told():
    sure = torch.full((2, 3, 8, 8), -9.0)
    sure[:, 1, 2:6, 2:6] = 9
    sure[:, 0] = torch.where(sure[:, 1] > 0, -9.0, 9.0)
    cell = torch.zeros(2, 8, 8, dtype=torch.long)
    cell[:, 2:6, 2:6] = UNKNOWN_PART
    assert outline_loss(sure, cell, torch.ones(2)).max() < 0.01  # cytoplasm or nucleus: both are cell
    other = cell.clone()
    other[1] = 1  # a row that is wrong, but counts for nothing
    assert outline_loss(sure, other, torch.tensor([1.0, 0.0])).max() < 0.01
    assert outline_loss(sure, other, torch.ones(2))[0] > 3
    unknown = cell.clone()
    unknown[:, :2] = UNKNOWN
    wrong_there = sure.clone()
    wrong_there[:, 2, :2] = 20
    assert outline_loss(wrong_there, unknown, torch.ones(2)).max() < 0.01
    nothing = outline_loss(sure.requires_grad_(), cell, torch.zeros(2))
    nothing.sum().backward()
    assert nothing.tolist() == [0, 0] and torch.isfinite(sure.grad).all()


def test_boxes_alone_and_names_that_are_no_set_are_refused(tmp_path):
    boxed = read_dataset(paint_set(tmp_path / "a"))
    with pytest.raises(DataError, match="boxes alone"):
        loop.train_outliner(loop.OutlinerConfig(**SMALL), [boxed], tmp_path / "run")
    with pytest.raises(ConfigError, match="bccd"):
        config = loop.OutlinerConfig(**SMALL, masks={"bccd": "m/{stem}.png"})
        loop.train_outliner(config, [boxed], tmp_path / "run2")


def test_it_learns_and_the_bundle_draws_what_torch_draws(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="the exporter needs it")
    from leukoscope.models.bundle import read_bundle
    from leukoscope.models.torch_onnx import round_to_half
    from leukoscope.models.torch_outline import ExportedOutliner

    config = tmp_path / "outliner.toml"
    config.write_text(
        'task = "outline"\nname = "small"\nsteps = 50\nsize = 32\nbatch_size = 4\nwidth = 16\n'
        'pretrained = true\nown_colour = 1.0\n[masks]\npainted = "masks/{stem}.png"\n'
    )
    run = train_to_bundle(config, [paint_set(tmp_path)], tmp_path / "run")
    rows = (run / "log.csv").read_text().splitlines()
    assert rows[0] == "step,entropy,dice,learnt_share,seconds" and len(rows) == 3
    assert float(rows[2].split(",")[1]) < 0.7 * float(rows[1].split(",")[1])
    bundle = read_bundle(run / "bundle")
    (result,) = bundle.card.results
    assert result["n_cells"] == 2 and result["cell"] > 0.6
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    boxes = np.array([[4, 4, 28, 28], [2, 6, 28, 20], [6, 6, 24, 26]], np.float32)
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    (probs,) = session.run(["probs"], {"pixels": pixels, "boxes": boxes})
    with torch.no_grad():
        net = round_to_half(loop.read_outliner(run)[0], least_dims=1)
        expected = ExportedOutliner(net)(torch.from_numpy(pixels), torch.from_numpy(boxes)).numpy()
    assert probs.shape == (3, 3, 32, 32) and probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=1e-4)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert bundle.onnx.stat().st_size < 2.2e6  # the weights are in 16 bits

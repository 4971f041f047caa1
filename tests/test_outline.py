"""Outlines in analysis: an outliner that sees dark colours, on fields whose cells are known to the pixel."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from data.make_bundles import draw_field, make_model, make_outliner, scatter_cells
from PIL import Image

from leukoscope.dataset.masks import mask_outlines
from leukoscope.errors import ModelError
from leukoscope.geometry import contour_area, contour_box
from leukoscope.models.bundle import read_bundle
from leukoscope.models.runtime import Session
from leukoscope.outline import fill_outline, outline
from leukoscope.pipeline import analyze
from leukoscope.report import read_record
from leukoscope.types import Cells, Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    return Session(read_bundle(make_outliner(tmp_path_factory.mktemp("outliner"))))


def paint(cells, *, shape=(140, 180)):
    """Glass with cells: discs of cytoplasm (150) around nuclei (40) of half their radius, at (x, y, radius)."""
    pixels = np.full((*shape, 3), 240, np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for share, grey in ((1.0, 150), (0.5, 40)):
        for cx, cy, radius in cells:
            pixels[(x - cx) ** 2 + (y - cy) ** 2 <= (share * radius) ** 2] = grey
    return pixels


def boxes_of(cells, room=2):
    boxes = np.array([(x - r - room, y - r - room, x + r + room, y + r + room) for x, y, r in cells], np.float32)
    return np.clip(boxes, 0, (180, 140, 180, 140))


def draw(pixels, boxes, session, scores=None):
    cells = Cells(KEY, boxes, np.ones(len(boxes)) if scores is None else scores)
    return outline(Field(KEY, pixels), cells, session)


def rows_of(outlines, shape):
    """(N, H, W) bool: each cell's pixels."""
    return np.array([fill_outline(c, shape) for c in outlines.cells.contours])


def test_contours_lie_on_their_cells_also_at_the_edge(session):
    cells = [(50, 60, 24), (130, 70, 15), (4, 20, 20), (170, 130, 18)]
    pixels = paint(cells)
    got = draw(pixels, boxes_of(cells), session)
    np.testing.assert_array_equal(got.cells.boxes, boxes_of(cells))
    y, x = np.mgrid[:140, :180] + 0.5
    rows = zip(got.cells.contours, got.nuclei, got.nc_ratio, cells, strict=True)
    for contour, parts, nc_ratio, (cx, cy, radius) in rows:
        truth = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        drawn = fill_outline(contour, (140, 180))
        assert contour.dtype == np.float32 and contour_area(contour) == drawn.sum()
        assert (truth & drawn).sum() / (truth | drawn).sum() > 0.9
        assert len(parts) == 1 and (contour_box(contour)[:2] >= 0).all()
        assert nc_ratio == pytest.approx((pixels[truth] == 40).mean(), abs=0.06)


def test_touching_cells_share_no_pixel(session):
    cells = [(50, 60, 22), (88, 60, 20), (70, 92, 18)]
    got = draw(paint(cells), boxes_of(cells), session)
    claimed = rows_of(got, (140, 180)).sum(0)
    assert claimed.max() == 1
    for (x, y, radius), area in zip(cells, got.cell_area_px, strict=True):
        assert 0.8 < area / (np.pi * radius**2) < 1.2
        assert claimed[int(y), int(x)] == 1


def test_the_order_and_number_of_other_cells_changes_nothing_where_none_touches(session):
    cells = [(20 + 40 * i, 30 + 60 * k, 14) for i in range(4) for k in range(2)]
    pixels, boxes = paint(cells), boxes_of(cells)
    thrice = np.concatenate([boxes + (180 * k, 0, 180 * k, 0) for k in range(3)])
    many = draw(np.tile(pixels, (1, 3, 1)), thrice, session)
    assert len(many.cells) == 24  # more than one batch
    for row, box in enumerate(boxes):
        alone = draw(pixels, box[None], session)
        np.testing.assert_array_equal(alone.cells.contours[0], many.cells.contours[row])
        np.testing.assert_array_equal(alone.cells.contours[0] + (360, 0), many.cells.contours[16 + row])


def test_lobes_specks_and_empty_boxes(session):
    pixels = paint([(60, 60, 30)])
    pixels[45:75, 45:75] = 150  # its nucleus away
    for x in (45, 64):
        pixels[52:68, x : x + 12] = 40  # two lobes
    pixels[80:82, 58:60] = 40  # and a speck
    got = draw(pixels, np.array([[28, 28, 92, 92], [100, 90, 140, 130]], np.float32), session)
    lobes, none = got.nuclei
    assert len(lobes) == 2 and none == ()
    assert got.cells.contours[1].shape == (0, 2) and np.isnan(got.nc_ratio[1]) and got.cell_area_px[1] == 0
    assert 0.8 * 384 < got.nucleus_area_px[0] < 1.2 * 384
    empty = draw(pixels, np.zeros((0, 4)), session)
    assert empty.cells.contours == () and len(empty.nc_ratio) == 0


def test_probabilities_of_another_shape_are_refused(session):
    wrong = SimpleNamespace(card=session.card, run=lambda **inputs: [np.zeros((1, 3, 48, 48), np.float32)])
    with pytest.raises(ModelError, match="belong together"):
        draw(paint([(60, 60, 30)]), np.array([[28, 28, 92, 92]], np.float32), wrong)


def test_filling_an_outline():
    ring = np.zeros((9, 10), bool)
    ring[1:8, 1:9] = True
    ring[3:5, 3:6] = False
    ring[6, 6] = False
    (outer,) = mask_outlines(ring)
    filled = fill_outline(np.array(outer), ring.shape)
    assert filled.sum() == 56 and filled[1:8, 1:9].all()
    notched = ring.copy()
    notched[1:4, 4] = False
    filled = fill_outline(np.array(next(mask_outlines(notched))), ring.shape)
    np.testing.assert_array_equal(filled[:6], notched[:6])


def test_analysis_records_contours_and_ratios(tmp_path):
    """A model folder with `outliner/`: contours in the record, columns in cells.csv; without one nothing changes."""
    model = make_model(tmp_path / "model")
    cells = scatter_cells(np.random.default_rng(3), 200, 240, 4, apart=75)
    Image.fromarray(draw_field(200, 240, cells)).save(tmp_path / "a.png")
    plain = analyze([tmp_path / "a.png"], tmp_path / "plain", model=model)
    make_outliner(model / "outliner")
    outlined = analyze([tmp_path / "a.png"], tmp_path / "outlined", model=model)
    before, after = (json.loads(p.read_text("utf-8")) for p in (plain, outlined))
    assert list(after["provenance"]["models"]) == ["locator", "classifier", "outliner"]
    assert not read_record(plain).has_outlines and read_record(outlined).has_outlines
    new = {"contour", "nuclei", "cell_area_px", "nucleus_area_px", "nc_ratio"}
    pairs = list(zip(before["fields"][0]["cells"], after["fields"][0]["cells"], strict=True))
    assert len(pairs) == len(cells) > 2
    for old, cell in pairs:
        assert set(cell) - set(old) == new and all(cell[k] == old[k] for k in old)
        assert contour_area(np.array(cell["contour"])) == cell["cell_area_px"] > 600
        assert sum(contour_area(np.array(n)) for n in cell["nuclei"]) == cell["nucleus_area_px"]
        assert cell["nc_ratio"] == pytest.approx(cell["nucleus_area_px"] / cell["cell_area_px"], abs=1e-3)
    with open(outlined.with_name("cells.csv"), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["nc_ratio"]) for r in rows] == [c["nc_ratio"] for _, c in pairs]
    assert "nc_ratio" not in plain.with_name("cells.csv").read_text()

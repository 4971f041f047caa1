"""Locating: every blob once and whole, in small pictures, in large ones cut into tiles, and under a tint."""

from __future__ import annotations

import numpy as np
import pytest
from data.make_bundles import BOX_PX, INPUT_PX, draw_field, make_locator, scatter_cells
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from leukoscope.errors import InputError
from leukoscope.geometry import box_iou
from leukoscope.locate import default_tile_px, fitting_tile_px, letterbox, locate
from leukoscope.models.bundle import find_model, read_bundle
from leukoscope.models.runtime import Session, _side_step
from leukoscope.scale import red_cell_px
from leukoscope.types import Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


@pytest.fixture(scope="module")
def locator(tmp_path_factory) -> Session:
    return Session(read_bundle(make_locator(tmp_path_factory.mktemp("locator"))))


@pytest.fixture(scope="module")
def balanced_locator(tmp_path_factory) -> Session:
    return Session(read_bundle(make_locator(tmp_path_factory.mktemp("balanced"), white_balance=True)))


def middles(cells):
    return (cells.boxes[:, :2] + cells.boxes[:, 2:]) / 2


def assert_each_found_once(found, cells, within):
    """One located cell near each true place, and no other."""
    assert len(found) == len(cells)
    if cells:
        places = np.array([(x, y) for x, y, _ in cells])
        apart = np.linalg.norm(middles(found)[:, None] - places[None], axis=2)
        assert (apart.min(0) < within).all() and len(set(apart.argmin(0))) == len(cells)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (480, 640), (363, 360), (300, 300), (200, 700)])
def test_every_blob_is_found_where_it_is(locator, height, width):
    scale = max(height, width) / INPUT_PX
    cells = scatter_cells(np.random.default_rng(3), height, width, 6, apart=60 * scale)
    found = locate(Field(KEY, draw_field(height, width, cells, radius=18 * scale)), locator)
    assert_each_found_once(found, cells, within=4 * scale)
    assert (np.diff(found.scores) <= 0).all()
    inside = found.boxes[(found.boxes[:, :2] > 0).all(1) & (found.boxes[:, 2:] < (width, height)).all(1)]
    np.testing.assert_allclose(inside[:, 2:] - inside[:, :2], BOX_PX * scale, rtol=0.02)


def test_a_photograph_of_a_single_cell(locator):
    found = locate(Field(KEY, draw_field(120, 120, [(60, 60, "monocyte")], radius=10)), locator)
    assert_each_found_once(found, [(60, 60, "monocyte")], within=4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 2)])
def test_an_odd_shape_is_no_error(locator, shape):
    assert len(locate(Field(KEY, np.full((*shape, 3), 240, np.uint8)), locator)) == 0


def test_boxes_stay_inside_the_field(locator):
    found = locate(Field(KEY, draw_field(256, 256, [(3, 3, "monocyte"), (252, 128, "monocyte")])), locator)
    assert len(found)
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= 256).all()


def test_the_last_bits_of_a_box_are_not_heard(locator, monkeypatch):
    cells = scatter_cells(np.random.default_rng(3), 300, 400, 6, apart=80)
    field = Field(KEY, draw_field(300, 400, cells, radius=24))
    first, run = locate(field, locator), Session._run

    def a_little_off(self, names, inputs):
        outputs = dict(zip(names, run(self, names, inputs), strict=True))
        return [v + np.float32(0.001) if name == "boxes" else v for name, v in outputs.items()]

    monkeypatch.setattr(Session, "_run", a_little_off)
    second = locate(field, locator)
    assert len(first) and (second.boxes == first.boxes).all()


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_tiles_then_merge_finds_each_cell_once(locator, seed):
    rng = np.random.default_rng(seed)
    cells = scatter_cells(rng, 600, 900, 14, apart=60)
    field = Field(KEY, draw_field(600, 900, cells))
    assert_each_found_once(locate(field, locator, tile_px=INPUT_PX), cells, within=4)


def test_a_cell_on_the_border_of_two_tiles_comes_out_whole(locator):
    # Tiles of 256 with 64 shared: on this field they begin at 0, 172 and 344, so 256 and 172 are inner borders.
    for x in (172, 214, 256):
        found = locate(Field(KEY, draw_field(256, 600, [(x, 128, "basophil")])), locator, tile_px=INPUT_PX)
        wanted = [[x - BOX_PX / 2, 128 - BOX_PX / 2, x + BOX_PX / 2, 128 + BOX_PX / 2]]
        assert len(found) == 1 and box_iou(found.boxes, wanted)[0, 0] > 0.75


def test_tiles_are_as_large_as_the_red_cells_ask(locator):
    view = Field(KEY, draw_field(1100, 1300, []))
    assert fitting_tile_px(view, locator, red_px=100) == 1300  # 13 red cells across: the locator sees it whole
    assert fitting_tile_px(view, locator, red_px=60) == 540
    assert fitting_tile_px(view, locator, red_px=5) == INPUT_PX // 2  # no tile is enlarged more than twice
    small = Field(KEY, draw_field(300, 200, []))
    assert fitting_tile_px(small, locator, red_px=40) == 300


def test_without_red_cells_a_large_field_is_shown_whole_while_its_cells_are_large(tmp_path):
    assert default_tile_px(read_bundle(make_locator(tmp_path / "a")).card) == 3 * INPUT_PX
    cells = scatter_cells(np.random.default_rng(5), 700, 900, 6, apart=200)
    field = Field(KEY, draw_field(700, 900, cells, radius=63))
    wide = Session(read_bundle(make_locator(tmp_path / "b", box_px=44)))
    assert fitting_tile_px(field, wide, red_px=None) == 900
    narrow = Session(read_bundle(make_locator(tmp_path / "c", box_px=12)))  # boxes no wider than platelets at any size
    assert fitting_tile_px(field, narrow, red_px=None) == 3 * INPUT_PX


def test_a_field_says_its_own_tiles_where_none_are_stated(locator):
    """Red cells of 30 px ask for tiles of 270 in a field of 1,000 px, where the white cells would else be too small."""
    rng = np.random.default_rng(2)
    cells = [(x, y, "monocyte") for x, y in ((150, 200), (500, 480), (830, 300), (300, 760), (800, 800))]
    picture = Image.fromarray(draw_field(1000, 1000, cells, radius=19))
    draw = ImageDraw.Draw(picture)
    for x, y in ((x, y) for x in range(30, 1000, 42) for y in range(30, 1000, 42)):
        if all(np.hypot(x - cx, y - cy) > 60 for cx, cy, _ in cells):
            dx, dy = rng.integers(-3, 4, 2)
            draw.ellipse((x + dx - 15, y + dy - 15, x + dx + 15, y + dy + 15), fill=(235, 205, 205))
    pixels = np.asarray(picture)
    assert red_cell_px(pixels) == pytest.approx(30, rel=0.1)
    for scale in (1, 2):
        large = np.asarray(picture.resize((1000 * scale, 1000 * scale)))
        found = locate(Field(KEY, large), locator)
        strong = found.scores > 0.8 * found.scores.max()
        assert strong.sum() == len(cells)


def test_the_card_may_say_the_tile(tmp_path):
    card = read_bundle(make_locator(tmp_path, tile_px=300)).card
    assert default_tile_px(card) == 300


def test_a_tile_far_below_the_input_is_refused(locator):
    with pytest.raises(InputError, match="tile_px must be at least 128"):
        locate(Field(KEY, draw_field(256, 256, [])), locator, tile_px=100)


def test_white_balance_undoes_a_tint_where_the_card_asks_for_it(locator, balanced_locator):
    cells = scatter_cells(np.random.default_rng(7), 256, 256, 4)
    dim = (draw_field(256, 256, cells) * np.array([0.4, 0.38, 0.35])).astype(np.uint8)  # background green 91: "dark"
    assert_each_found_once(locate(Field(KEY, dim), balanced_locator), cells, within=4)
    assert len(locate(Field(KEY, dim), locator)) != len(cells)


@pytest.fixture(scope="module")
def bundled() -> Session:
    return Session(find_model("blood")["locate"])


@pytest.mark.parametrize(
    ("field", "tile_px", "shown"), [((480, 640), 640, {(192, 256)}), ((240, 60), 240, {(256, 64)}),
                                    ((700, 500), 640, {(256, 224)}), ((300, 900), 640, {(128, 256)})],
)  # fmt: skip
def test_a_graph_of_any_sides_sees_no_more_padding_than_it_must(bundled, monkeypatch, field, tile_px, shown):
    run, seen = bundled.run, []
    monkeypatch.setattr(bundled, "run", lambda pixels: seen.append(pixels) or run(pixels=pixels))
    pixels = np.full((*field, 3), (226, 214, 222), np.uint8)
    found = locate(Field(KEY, pixels), bundled, tile_px=tile_px)
    assert {s.shape[1:3] for s in seen} == shown and not len(found)


def test_less_padding_changes_no_cell(bundled, monkeypatch):
    picture = Image.new("RGB", (640, 480), (238, 226, 232))
    draw = ImageDraw.Draw(picture)
    for x, y in ((60, 40), (300, 360), (470, 150)):
        draw.ellipse((x, y, x + 120, y + 112), fill=(200, 185, 225))
        draw.ellipse((x + 20, y + 16, x + 100, y + 94), fill=(95, 45, 140))
    field = Field(KEY, np.asarray(picture))
    tight = locate(field, bundled, tile_px=640)
    monkeypatch.setattr(bundled, "side_step", None)  # as a graph that states its sides is shown everything
    whole = locate(field, bundled, tile_px=640)
    sure, wide = tight.boxes[tight.scores >= 0.35], whole.boxes[whole.scores >= 0.35]
    assert len(sure) == len(wide) == 3 and box_iou(sure, wide).max(1).min() > 0.95


@pytest.mark.parametrize(
    ("sides", "step"), [(("32*height", "32*width"), 32), (("64*h", "64*w"), 64), ((256, 256), None),
                        (("height", "width"), None), (("32*h", 256), None), (("32*h", "64*w"), None), ((), None)],
)  # fmt: skip
def test_a_graph_says_by_the_names_of_its_axes_that_it_takes_any_sides(sides, step):
    assert _side_step([1, *sides, 3]) == step


def test_letterbox_keeps_the_aspect_and_pads_right_and_below():
    canvas, scale = letterbox(np.zeros((100, 200, 3), np.uint8), (256, 256))
    assert scale == (256 / 200, 128 / 100)
    assert (canvas[:128] == 0).all() and (canvas[128:] == 240).all()
    canvas, scale = letterbox(np.zeros((256, 64, 3), np.uint8), (256, 256))
    assert scale == (1, 1) and (canvas[:, :64] == 0).all() and (canvas[:, 64:] == 240).all()
    canvas, scale = letterbox(np.zeros((100, 200, 3), np.uint8), (256, 256), step=96)
    assert canvas.shape == (192, 288, 3) and (canvas[:128, :256] == 0).all() and (canvas[128:] == 240).all()
    assert scale == (256 / 200, 128 / 100)

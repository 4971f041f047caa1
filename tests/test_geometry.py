"""Boxes, tiles and contours, each against another way of getting the answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.errors import DataError
from leukoscope.geometry import box_area, box_iou, contour_area, contour_box, drop_nested, merge_tiles, nms, tiles


def counted_iou(a, b, size=40):
    """IoU by counting the unit squares of whole-number boxes."""
    y, x = np.mgrid[:size, :size]
    in_a, in_b = ((x >= k[0]) & (x < k[2]) & (y >= k[1]) & (y < k[3]) for k in (a, b))
    return (in_a & in_b).sum() / (in_a | in_b).sum()


corner = st.integers(0, 30)
whole_box = st.tuples(corner, corner, st.integers(1, 9), st.integers(1, 9)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)


@given(st.lists(whole_box, min_size=1, max_size=4), st.lists(whole_box, min_size=1, max_size=4))
def test_iou_is_what_counting_squares_gives(a, b):
    expected = [[counted_iou(i, k) for k in b] for i in a]
    np.testing.assert_allclose(box_iou(a, b), expected)


def test_iou_of_no_boxes_and_of_boxes_without_area():
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)
    assert box_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0.0]]
    assert box_area([[2, 2, 1, 1], [0, 0, 2, 3]]).tolist() == [0, 6]


def test_nms_keeps_the_best_of_each_heap():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [50, 1, 60, 11]]
    assert nms(boxes, [0.5, 0.9, 0.8, 0.7], 0.5).tolist() == [1, 2]
    assert nms(boxes, [0.5, 0.9, 0.8, 0.7], 0.99).tolist() == [1, 2, 3, 0]
    assert nms(boxes, [0.5, 0.5, 0.5, 0.5], 0.5).tolist() == [0, 2]  # equal scores: the earlier one
    assert nms(np.zeros((0, 4)), [], 0.5).tolist() == []


def test_of_nested_boxes_one_stays():
    def kept(*rows: tuple[list[float], float]) -> list[int]:
        boxes, scores = [r[0] for r in rows], [r[1] for r in rows]
        return drop_nested(np.reshape(boxes, (-1, 4)), scores, inside=0.75, share=0.5).tolist()

    cell, lobe, other = [0, 0, 40, 40], [5, 5, 15, 15], [22, 22, 38, 38]
    assert kept() == []
    assert kept((cell, 0.9), (lobe, 0.6)) == [0]
    assert kept((lobe, 0.6), (cell, 0.4)) == [1]  # the cell itself, though its lobe looks more like one
    assert kept((lobe, 0.9), (cell, 0.4)) == [0]
    assert kept((lobe, 0.9), (other, 0.8), (cell, 0.7)) == [0, 1]  # a box around two cells
    assert kept((lobe, 0.9), (cell, 0.7), (other, 0.4)) == [1]  # two lobes, one of them louder
    assert kept((cell, 0.9), ([35, 0, 50, 10], 0.5)) == [0, 1]  # a third of it in the cell
    assert kept((cell, 0.9), (cell, 0.5)) == [0, 1]  # the same place is for `nms`


@given(st.lists(whole_box, min_size=1, max_size=12), st.floats(0.1, 0.9), st.randoms(use_true_random=False))
def test_nms_leaves_no_two_that_overlap_and_drops_none_without_cause(boxes, limit, random):
    scores = np.array([random.random() for _ in boxes])
    kept = nms(boxes, scores, limit)
    assert (np.diff(scores[kept]) <= 0).all()
    overlap = box_iou(boxes, np.array(boxes)[kept])
    for i in range(len(boxes)):
        better = [overlap[i, k] for k, index in enumerate(kept) if index != i and scores[index] >= scores[i]]
        assert (i in kept) == (max(better, default=0) <= limit)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(64, 300), st.integers(0, 63))
def test_tiles_cover_the_field_and_hold_every_short_thing_whole(height, width, size, overlap):
    frames = tiles(height, width, size, overlap)
    assert (frames[:, :2] >= 0).all() and (frames[:, 2] <= width).all() and (frames[:, 3] <= height).all()
    assert (frames[:, 2:] - frames[:, :2] <= size).all()
    for start in range(0, width - overlap + 1):  # anything `overlap` px long, wherever it starts
        assert ((frames[:, 0] <= start) & (frames[:, 2] >= start + overlap)).any()
    for start in range(0, height - overlap + 1):
        assert ((frames[:, 1] <= start) & (frames[:, 3] >= start + overlap)).any()


def test_a_field_that_fits_is_one_tile():
    assert tiles(100, 200, 200, 50).tolist() == [[0, 0, 200, 100]]
    assert len(tiles(100, 201, 200, 50)) == 2


@pytest.mark.parametrize(("height", "size", "overlap"), [(100, 50, 50), (100, 50, -1), (0, 50, 10)])
def test_tiles_refuse_what_can_not_be_cut(height, size, overlap):
    with pytest.raises(DataError, match="overlap"):
        tiles(height, 100, size, overlap)


def seen_through_tiles(boxes, frames):
    """What a perfect locator gives in each tile: each box cut to the tile, if at least 4 px of it are in there."""
    found = [(np.maximum(b[:2], f[:2]), np.minimum(b[2:], f[2:]), t) for t, f in enumerate(frames) for b in boxes]
    seen = [(np.concatenate([low, high]), t) for low, high, t in found if (high - low >= 4).all()]
    return np.array([b for b, _ in seen]), np.array([t for _, t in seen])


@given(st.integers(0, 2**32 - 1), st.sampled_from([(700, 900), (256, 900), (520, 260)]))
def test_tiles_then_merge_finds_each_cell_once_and_whole(seed, shape):
    rng = np.random.default_rng(seed)
    grid = np.array([(x, y) for y in range(0, shape[0] - 60, 61) for x in range(0, shape[1] - 60, 61)], float)
    corners = grid[rng.random(len(grid)) < 0.4] + rng.uniform(0, 20, 2)  # cells of up to 60 px, a pixel apart
    sides = rng.uniform(20, 60, (len(corners), 2)) - 20
    boxes = np.concatenate([corners, np.minimum(corners + 20 + sides, shape[::-1])], 1)
    if not len(boxes):
        return
    frames = tiles(*shape, 256, 64)
    seen, tile_ids = seen_through_tiles(boxes, frames)
    scores = rng.uniform(0.3, 1, len(seen))
    merged, _ = merge_tiles(seen, scores, tile_ids=tile_ids, tile_boxes=frames, iou=0.5)
    order, wanted = np.lexsort(merged.T), np.lexsort(boxes.T)
    np.testing.assert_allclose(merged[order], boxes[wanted])


def test_a_cell_longer_than_the_overlap_is_put_together_again():
    frames = tiles(200, 360, 200, 40)
    halves = np.array([[120, 50, 200, 150], [160, 50, 260, 150]])  # one cell from 120 to 260, cut by both tiles
    merged, scores = merge_tiles(halves, [0.6, 0.9], tile_ids=[0, 1], tile_boxes=frames, iou=0.5)
    assert merged.tolist() == [[120, 50, 260, 150]]
    assert scores.tolist() == [0.9]


def test_neighbours_in_the_overlap_of_two_tiles_stay_two():
    frames = tiles(200, 360, 200, 40)
    boxes = np.array([[163, 50, 181, 80], [178, 50, 196, 80]])
    seen = np.concatenate([boxes, boxes + 0.4])
    merged, _ = merge_tiles(seen, [0.9, 0.5, 0.6, 0.8], tile_ids=[0, 0, 1, 1], tile_boxes=frames, iou=0.5)
    np.testing.assert_allclose(merged, [seen[0], seen[3]])  # of each the better


def test_nothing_in_any_tile_is_nothing():
    merged, scores = merge_tiles(np.zeros((0, 4)), [], tile_ids=[], tile_boxes=tiles(9, 20, 10, 2), iou=0.5)
    assert merged.shape == (0, 4) and scores.shape == (0,)


def test_contour_area_and_box():
    triangle = [[10, 10], [14, 10], [10, 16]]
    assert contour_area(triangle) == contour_area(triangle[::-1]) == 12
    assert contour_box(triangle).tolist() == [10, 10, 14, 16]
    angle = np.linspace(0, 2 * np.pi, 721)[:-1]
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) * 25 + 1e8
    assert contour_area(circle) == pytest.approx(np.pi * 25**2, rel=1e-4)
    assert contour_area([[0, 0], [1, 1]]) == 0
    with pytest.raises(DataError, match="at least one point"):
        contour_box([])

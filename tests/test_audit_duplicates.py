"""Copies are found however they were made, different pictures are not taken for copies, and odd files are listed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from data.make_smear_pictures import save_pictures, smear_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.dataset.audit import find_duplicates
from leukoscope.dataset.audit.align import align, fine_structure
from leukoscope.dataset.audit.duplicates import Pair, connected
from leukoscope.dataset.audit.index import build_index, find_candidates
from leukoscope.dataset.audit.signature import WINDOWS, cosines, measure_whitening, signatures
from leukoscope.dataset.audit.thumbnails import SIDE, read_thumbnails
from leukoscope.dataset.audit.turns import NAMES, turn_cosines, turn_pixels, turn_points

TURNS = range(8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """30 different pictures."""
    return save_pictures(tmp_path_factory.mktemp("pictures"), 30)


def turned(image: Image.Image, turn: int) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(turn_pixels(np.asarray(image).transpose(2, 0, 1), turn)).transpose(1, 2, 0)
    )


CHANGES = {
    **{NAMES[g]: (lambda image, g=g: turned(image, g)) for g in range(1, 8)},
    "rescaled": lambda image: image.resize((135, 128), Image.Resampling.BICUBIC),
    "brighter": lambda image: image.point(lambda v: min(255, int(v * 1.15))),
    "darker": lambda image: image.point(lambda v: int(v * 0.85)),
    "cropped": lambda image: image.crop((13, 4, 13 + 162, 4 + 153)),
    "turned and cropped": lambda image: turned(image, 5).crop((2, 12, 2 + 153, 12 + 162)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change, pictures, tmp_path):
    copy = tmp_path / "copy.jpg"
    CHANGES[change](Image.open(pictures[7])).save(copy, quality=80)
    found = find_duplicates([*pictures, copy])
    assert [{p.first, p.second} for p in found.pairs] == [{7, 30}]
    assert found.clusters == ((7, 30),)
    assert not found.pairs[0].is_same_file and found.pairs[0].agreement > 0.8
    if "brighter" in change or "darker" in change:
        second_over_first = found.pairs[0].brightness if found.pairs[0].first == 7 else 1 / found.pairs[0].brightness
        assert second_over_first == pytest.approx(1.1 if change == "brighter" else 0.85, abs=0.06)


def test_the_turn_and_the_window_of_a_crop_are_told(pictures, tmp_path):
    copy = tmp_path / "copy.jpg"
    image = turned(Image.open(pictures[3]), 5)  # 170 x 180
    image.crop((9, 0, 9 + 153, 162)).save(copy, quality=90)
    (pair,) = find_duplicates([*pictures, copy]).pairs
    assert (pair.first, pair.second, pair.turn) == (3, 30, 5)
    assert pair.window == pytest.approx((9 / 170, 0, 0.9, 0.9), abs=0.012)


def test_the_same_file_is_one_pair_a_copy_and_clusters_join(pictures, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(pictures[0], tmp_path / name)
    Image.open(pictures[0]).save(tmp_path / "c.jpg", quality=60)
    found = find_duplicates([*pictures, *(tmp_path / n for n in ("a.jpg", "b.jpg", "c.jpg"))])
    assert [(p.first, p.second, p.is_same_file) for p in found.pairs[:2]] == [(0, 30, True), (0, 31, True)]
    assert {found.pairs[2].first, found.pairs[2].second} == {0, 32} and len(found.pairs) == 3
    assert found.clusters == ((0, 30, 31, 32),)


def test_the_answer_does_not_depend_on_the_number_of_threads(pictures, tmp_path):
    Image.open(pictures[0]).save(tmp_path / "c.jpg", quality=60)
    paths = [*pictures, tmp_path / "c.jpg"]
    assert find_duplicates(paths, workers=1) == find_duplicates(paths, workers=3)


def test_files_that_can_not_be_read_are_listed_and_the_others_compared(pictures, tmp_path):
    data = pictures[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    shutil.copy(pictures[0], tmp_path / "same.jpg")
    odd = [tmp_path / n for n in ("cut.jpg", "text.jpg", "empty.png", "missing.jpg")]
    found = find_duplicates([*odd, tmp_path, pictures[0], tmp_path / "same.jpg"])
    assert set(found.unreadable) == {0, 1, 2, 3, 4}
    for row, word in enumerate(("ends|truncated", "no image", "no bytes", "can't be opened", "can't be opened")):
        assert any(w in found.unreadable[row] for w in word.split("|")), found.unreadable[row]
    assert [(p.first, p.second) for p in found.pairs] == [(5, 6)]
    assert found.sha256[3] == "" and len(found.sha256[0]) == 64


def test_blank_pictures_are_compared_by_their_bytes_only(pictures, tmp_path):
    for n, level in enumerate((200, 201, 200)):
        Image.new("RGB", (50, 40), (level,) * 3).save(tmp_path / f"{n}.png")
    found = find_duplicates([tmp_path / f"{n}.png" for n in range(3)])
    assert [(p.first, p.second, p.is_same_file) for p in found.pairs] == [(0, 2, True)]
    assert found.blank == (0, 1)


def test_one_picture_or_none_has_no_duplicates(pictures):
    assert find_duplicates([]).pairs == () == find_duplicates(pictures[:1]).clusters


def test_other_formats_and_exif_turns_are_read_as_they_are_seen(pictures, tmp_path):
    image = Image.open(pictures[5])
    image.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    image.save(tmp_path / "b.jpg", exif=exif, quality=92)
    small = read_thumbnails([tmp_path / "a.png", tmp_path / "b.jpg"])
    assert not small.unreadable
    difference = turn_pixels(small.pixels[0].astype(int), 5) - small.pixels[1]
    assert np.abs(difference).mean() < 3


def test_a_black_frame_says_nothing(tmp_path):
    ys, xs = np.mgrid[:128, :128]
    inside = np.hypot(xs - 64, ys - 64) < 60
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(60, 140, (12, 12), np.uint8)
        texture = np.asarray(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC))
        Image.fromarray(np.where(inside, texture, 0).astype(np.uint8)).save(tmp_path / f"{seed}.png")
    small = read_thumbnails([tmp_path / "0.png", tmp_path / "1.png"]).pixels
    assert small.min() > 50  # the frame is filled with the mean of what it frames
    one, other = fine_structure(small)
    whole = np.array([[0, 0, 1, 1]], np.float32)
    assert align(one[None], one[None], whole, steps=2).agreement[0] > 0.99
    assert align(one[None], other[None], whole, steps=6).agreement[0] < 0.4


@pytest.mark.parametrize("turn", TURNS)
def test_turning_pixels_points_and_cosines_is_the_same(turn):
    small = np.asarray(smear_picture(1).convert("L").resize((SIDE, SIDE)))[None]
    of_turned = cosines(np.ascontiguousarray(turn_pixels(small, turn)), WINDOWS[:1])
    np.testing.assert_allclose(turn_cosines(cosines(small, WINDOWS[:1]), turn), of_turned, atol=1e-4)
    x, y = 10, 50
    marked = np.zeros((SIDE, SIDE))
    marked[y, x] = 1
    place = turn_points((np.array([x, y]) + 0.5) / SIDE, turn) * SIDE - 0.5
    assert turn_pixels(marked, turn)[tuple(np.rint(place[::-1]).astype(int))] == 1


def test_signatures_of_turned_pictures_agree_and_are_of_unit_length():
    small = np.stack([np.asarray(smear_picture(s).convert("L").resize((SIDE, SIDE))) for s in range(12)])
    whitening = measure_whitening(small)
    known = signatures(cosines(small)[:, 0], whitening)
    np.testing.assert_allclose(np.linalg.norm(known, axis=1), 1, atol=1e-4)
    asked = signatures(cosines(np.ascontiguousarray(turn_pixels(small, 6)))[:, 0], whitening)
    np.testing.assert_allclose(signatures(cosines(small)[:, 0], whitening, 6), asked, atol=1e-3)
    assert np.abs(known @ known.T - np.eye(12)).max() < 0.8


@settings(max_examples=15)
@given(x=st.floats(0, 0.1), y=st.floats(0, 0.1), side=st.floats(0.88, 0.92), seed=st.integers(0, 50))
def test_alignment_finds_the_window(x, y, side, seed):
    image = smear_picture(seed, (512, 512)).convert("L")
    x, y = min(x, 1 - side), min(y, 1 - side)
    box = tuple(512 * v for v in (x, y, x + side, y + side))
    target = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, box))
    query = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    start = np.array([[x + 0.015, y - 0.015, 0.9, 0.9]], np.float32)
    first = align(fine_structure(query[None], 32), fine_structure(target[None], 32), start, steps=6)
    found = align(fine_structure(query[None]), fine_structure(target[None]), first.windows, steps=3)
    assert found.agreement[0] > 0.9
    assert found.windows[0] == pytest.approx((x, y, side, side), abs=0.012)


def test_the_index_finds_what_comparing_all_finds(monkeypatch):
    small = np.stack([np.asarray(smear_picture(s, (64, 64)).convert("L")) for s in range(120)])
    small = np.concatenate([small, turn_pixels(small[:20], 5), small[20:40] // 8 * 8])
    everything = find_candidates(small)
    monkeypatch.setattr("leukoscope.dataset.audit.index._ALL_BELOW", 10)
    monkeypatch.setattr("leukoscope.dataset.audit.index._PROBES", 4)
    assert len(build_index(small, measure_whitening(small), seed=0).centers) == 13
    indexed = find_candidates(small)
    wanted = {(i, 120 + i) for i in range(40)}
    for found in (everything, indexed):
        pairs = {tuple(sorted(p)) for p in zip(found.query.tolist(), found.target.tolist(), strict=True)}
        assert wanted <= pairs
        assert len(pairs) == len(found.query)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda p: p[0] != p[1]), max_size=25))
def test_clusters_are_what_pairs_connect(edges):
    clusters = connected([Pair(a, b, False, 1.0) for a, b in edges])
    assert sorted(r for c in clusters for r in c) == sorted({r for e in edges for r in e})
    of = {row: n for n, c in enumerate(clusters) for row in c}
    assert all(of[a] == of[b] for a, b in edges)
    # As many clusters as a forest over these edges has trees.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if edges:
        a, b = np.array(edges).T
        n, _ = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(16, 16)), directed=False)
        assert len(clusters) == n - (16 - len(of))

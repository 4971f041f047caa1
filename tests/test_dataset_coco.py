"""COCO: polygons, masks, cells of several parts; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from data.small_texts import MASK, counts, issues, one_cell, picture, write

from leukoscope.dataset.coco import read_coco
from leukoscope.dataset.rle import outline_of, read_coco_rle
from leukoscope.errors import DataError


def coco(images=("a.png",), annotations=(), categories=((1, "lymphocyte"),)):
    return {
        "images": [
            i if isinstance(i, dict) else {"id": n, "file_name": i, "width": 40, "height": 30}
            for n, i in enumerate(images)
        ],
        "annotations": [
            {"id": n, "image_id": 0, "category_id": 1, "bbox": [2, 3, 10, 12]} | a for n, a in enumerate(annotations)
        ],
        "categories": [{"id": i, "name": n} for i, n in categories],
    }


def test_coco_polygons_and_masks(tmp_path):
    mask_api = pytest.importorskip("pycocotools.mask", reason="compressed masks are checked against pycocotools")
    picture(tmp_path / "images/a.png")
    encoded = mask_api.encode(np.asfortranarray(MASK.astype(np.uint8)))["counts"].decode()
    annotations = [
        {"segmentation": [[2, 3, 12, 3, 12, 15]]},
        {"segmentation": {"size": [30, 40], "counts": counts(MASK)}, "bbox": [6, 4, 7, 6]},
        {"segmentation": {"size": [30, 40], "counts": encoded}, "bbox": None, "iscrowd": 1, "id": 7},
    ]
    write(tmp_path / "annotations/instances_val.json", coco(annotations=annotations))
    raw = read_coco(tmp_path)
    polygon, counted, compressed = raw.fields[0].cells
    assert (polygon.box, polygon.contour) == ((2, 3, 12, 15), ((2, 3), (12, 3), (12, 15)))
    assert counted.contour == compressed.contour and counted.box == compressed.box == (6, 4, 13, 10)
    assert raw.fields[0].split == "val"
    assert issues(raw) == ["no box: the outline's taken", "iscrowd=1 kept as one cell"]


@pytest.mark.parametrize("seed", range(20))
def test_masks_are_read_as_pycocotools_reads_them(seed):
    mask_api = pytest.importorskip("pycocotools.mask", reason="the other reader of COCO masks")
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 40), np.uint8)
    top, left = rng.integers(0, 20, 2)
    mask[top : top + rng.integers(1, 11), left : left + rng.integers(1, 21)] = rng.random() < 2
    mask &= (rng.random(mask.shape) < (0.4, 0.9, 2)[seed % 3]).astype(np.uint8)
    if not mask.any():
        mask[0, 0] = 1
    rle = mask_api.encode(np.asfortranarray(mask))
    crop, left, top = read_coco_rle({"size": [30, 40], "counts": rle["counts"].decode()}, 40, 30)
    whole = np.zeros_like(mask, bool)
    whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert (whole == mask.astype(bool)).all()
    x, y, w, h = mask_api.toBbox(rle)
    if (seed % 3) == 2:
        xs, ys = np.array(outline_of(crop, left, top)[0]).T
        assert (xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()) == (x, y, w, h)


@pytest.mark.parametrize(
    "segmentation",
    [{"size": [30, 40], "counts": [5]}, {"size": [9, 9], "counts": [81]}, {"size": [30, 40], "counts": "?~~~"},
     [[1, 2]], {"size": [30, 40], "counts": [1200]}, [[1, 2, 3, 4, 5, "x"]], "abc",
     {"size": [30, 40], "counts": [-1, 1201]}],
)  # fmt: skip
def test_a_broken_outline_leaves_its_box(tmp_path, segmentation):
    picture(tmp_path / "a.png")
    write(tmp_path / "set.json", coco(annotations=[{"segmentation": segmentation}]))
    assert one_cell(read_coco, tmp_path).contour is None
    assert issues(read_coco(tmp_path), "repaired") == ["outline can't be read: box only"]


def test_coco_of_several_parts_and_attributes(tmp_path):
    picture(tmp_path / "a.png")
    parts = [[0, 0, 2, 0, 2, 2], [2, 3, 12, 3, 12, 15]]
    write(
        tmp_path / "set.json",
        coco(annotations=[{"segmentation": parts, "attributes": {"nucleolus": 2, "occluded": False}}]),
    )
    cell = one_cell(read_coco, tmp_path)
    assert (cell.contour, cell.attributes) == (((2, 3), (12, 3), (12, 15)), (("nucleolus", "2"),))
    assert issues(read_coco(tmp_path)) == ["outline in several parts: the largest kept"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"images": []}, "is not a COCO data set: expected a .json file with lists"),
        ("{", "is not JSON .*line 1, column 2"),
        ("[" * 9000, "is not JSON"),
        ('{"images": "\\ud800"}', "is not JSON"),
        (coco(images=[{"id": 0}]), "image 0 must be an object with an id and a file_name"),
        (coco(images=[{"id": 0, "file_name": "a.png"}] * 2), "two images have the id 0"),
        (coco(categories=[(1, "a"), (1, "b")]), "two categories have the id 1"),
        (coco(images=["a.png", "./a.png"]), "both annotate a.png"),
        (coco(images=[{"id": 0, "file_name": "a.png", "um_per_px": -1}]), "um_per_px must be a positive number"),
        (coco(images=[{"id": 0, "file_name": "a.png", "split": "holdout"}]), "split must be one of"),
    ],
)
def test_coco_refuses(tmp_path, content, says):
    picture(tmp_path / "a.png")
    write(tmp_path / "set.json", content)
    with pytest.raises(DataError, match=says):
        read_coco(tmp_path)

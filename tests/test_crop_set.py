"""Crops cut out of annotated fields: what is in them, which groups they form, how they are split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.make_crops import make_crops
from PIL import Image, ImageDraw

from leukoscope.crop import crop_cells
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import DataError, TaxonomyError
from leukoscope.models.bundle import CropRule
from leukoscope.taxonomy import BLOOD_12, PCM_9
from leukoscope.train.crops.data import join_crop_sets, read_crop_set, split_by_group, taxonomy_without
from leukoscope.types import FieldKey


def paint_field(folder, name, cells, *, patient="", split=None):
    """A field of 120 x 90 px with an ellipse in each cell's box; cells: (class, box)."""
    picture = Image.new("RGB", (120, 90), (232, 222, 226))
    draw = ImageDraw.Draw(picture)
    for i, (_, box) in enumerate(cells):
        draw.ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=(90 + 20 * i, 60, 150))
    picture.save(folder / name)
    x = [(c, b, ((b[0], b[1]), (b[2], b[1]), (b[2], b[3]), (b[0], b[3]))) for c, b in cells]
    made = tuple(TruthCell(tuple(map(float, b)), c, "x", contour=o) for c, b, o in x)
    digest = name.split(".")[0].split("-copy")[0].ljust(64, "0")
    return TruthField(FieldKey(name, "", patient, "site", "blood"), name, digest, 120, 90, made, split=split)


@pytest.fixture
def dataset(tmp_path):
    fields = (
        paint_field(tmp_path, "a.png", [("band_neutrophil", (10, 10, 40, 40)), ("red_cell", (60, 5, 80, 25))]),
        paint_field(tmp_path, "b.png", [("monocyte", (50, 30, 90, 70)), (None, (5, 60, 25, 85))], split="val"),
        paint_field(tmp_path, "c.png", [("red_cell", (60, 5, 80, 25))]),
        paint_field(tmp_path, "d.png", [("metamyelocyte", (40, 30, 80, 64))]),
        paint_field(tmp_path, "a-copy.png", [("segmented_neutrophil", (10, 10, 40, 40))]),
    )
    return Dataset("painted", tmp_path, fields, "CC0", "here", "folders")


def test_white_cells_become_crops_with_columns_of_the_taxonomy(dataset):
    crops = read_crop_set(dataset, taxonomy=PCM_9, size=32, pad_px=8)
    assert crops.class_names.tolist() == ["band_neutrophil", "monocyte", "", "metamyelocyte", "segmented_neutrophil"]
    names = [PCM_9.names[i] if i >= 0 else None for i in crops.labels]
    assert names == ["neutrophil", "monocyte", None, None, "neutrophil"]
    assert crops.files.tolist() == ["a.png", "b.png", "b.png", "d.png", "a-copy.png"]
    pixels = np.asarray(Image.open(dataset.image_root / "b.png"))
    expected = crop_cells(pixels, np.array([[50.0, 30, 90, 70]]), CropRule(size=32, pad_px=8))
    assert np.array_equal(crops.crops[1], expected[0])
    assert crops.counts()["neutrophil"] == 2 and crops.counts()[""] == 2
    assert len(crops.typed()) == 3 and (crops.typed().labels >= 0).all()
    assert crops.sources[0]["sha256"] == dataset.sha256()


def test_a_finer_taxonomy_keeps_the_subtypes(dataset):
    crops = read_crop_set(dataset, taxonomy=BLOOD_12, size=32)
    assert [BLOOD_12.names[i] if i >= 0 else None for i in crops.labels][-2:] == [
        "metamyelocyte",
        "segmented_neutrophil",
    ]


def test_only_one_split_can_be_read(dataset):
    crops = read_crop_set(dataset, taxonomy=PCM_9, size=32, split="val")
    assert set(crops.files) == {"b.png"} and crops.sources[0]["split"] == "val"
    with pytest.raises(DataError, match="split test"):
        read_crop_set(dataset, taxonomy=PCM_9, size=32, split="test")


def test_groups_are_patients_else_clusters_else_photographs(dataset):
    photographs = read_crop_set(dataset, taxonomy=PCM_9, size=32)
    assert photographs.unit == "photograph"
    assert photographs.groups[0] == photographs.groups[4] != photographs.groups[1]  # byte for byte the same file
    clusters = read_crop_set(dataset, taxonomy=PCM_9, size=32, clusters=((1, 3),))
    assert clusters.unit == "cluster" and clusters.groups[1] == clusters.groups[3] != clusters.groups[0]
    keys = [replace(f.key, patient_id=f"p{i % 2}") for i, f in enumerate(dataset.fields)]
    known = replace(dataset, fields=tuple(replace(f, key=k) for f, k in zip(dataset.fields, keys, strict=True)))
    patients = read_crop_set(known, taxonomy=PCM_9, size=32)
    assert patients.unit == "patient" and sorted(set(patients.groups)) == ["site/p0", "site/p1"]


def test_masks_lie_where_the_contours_are(dataset):
    crops = read_crop_set(dataset, taxonomy=PCM_9, size=32, pad_px=20, masks=True)
    mask = crops.extras["masks"][1]  # a box of 40 px in a crop of 80 px: the middle half
    assert mask.shape == (32, 32) and set(np.unique(mask)) == {0, 1}
    assert mask[10:22, 10:22].all() and not mask[:7].any() and not mask[:, 26:].any()


def test_white_balance_is_done_before_the_crop(dataset):
    plain = read_crop_set(dataset, taxonomy=PCM_9, size=32, pad_px=20)
    balanced = read_crop_set(dataset, taxonomy=PCM_9, size=32, pad_px=20, white_balance=True)
    assert plain.crops[1][0, 0].tolist() == [232, 222, 226]
    assert np.abs(balanced.crops[1][0, 0].astype(int) - 240).max() <= 1 and balanced.white_balance


def test_split_by_group_holds_out_a_fifth_and_keeps_groups_whole():
    crops = make_crops(120, size=16)
    rest, held = split_by_group(crops, 0.2, seed=1)
    assert len(rest) + len(held) == 120 and not set(crops.groups[rest]) & set(crops.groups[held])
    for label in range(3):
        assert 0.12 <= (crops.labels[held] == label).mean() * len(held) / 40 <= 0.28
    again = split_by_group(crops, 0.2, seed=1)
    assert np.array_equal(held, again[1]) and not np.array_equal(held, split_by_group(crops, 0.2, seed=2)[1])
    with pytest.raises(DataError, match="between 0 and 1"):
        split_by_group(crops, 1.0, seed=1)


def test_a_class_of_one_group_stays_in_training():
    crops = make_crops(12, size=16)
    alone = replace(crops, groups=np.where(crops.labels == 2, "only", crops.groups))
    rest, held = split_by_group(alone, 0.5, seed=0)
    assert not (alone.labels[held] == 2).any() and (alone.labels[rest] == 2).sum() == 4
    assert (alone.labels[held] == 0).any() and (alone.labels[rest] == 0).any()


def test_joined_sets_keep_their_groups_apart():
    one, two = make_crops(6, size=16), make_crops(4, size=16, seed=1)
    joined = join_crop_sets([one, two])
    assert len(joined) == 10 and len(set(joined.groups)) == len(set(one.groups)) + len(set(two.groups))
    assert joined.extras["masks"].shape == (10, 16, 16) and joined.sha256() != one.sha256()
    with pytest.raises(DataError, match="differ in white_balance"):
        join_crop_sets([one, replace(two, white_balance=True)])


def test_columns_must_have_a_row_a_crop():
    crops = make_crops(6, size=16)
    with pytest.raises(DataError, match="groups 5"):
        replace(crops, groups=crops.groups[:5])
    with pytest.raises(DataError, match="labels must lie"):
        replace(crops, labels=np.full(6, 3))
    with pytest.raises(DataError, match="unit must be"):
        replace(crops, unit="cell")
    assert crops.subset(np.array([3, 1])).files.tolist() == ["3.png", "1.png"]


def test_classes_can_be_left_out_of_a_taxonomy():
    cells = taxonomy_without(PCM_9, ["other"])
    assert "other" not in cells.names and cells.artefacts == () and len(cells.names) == 8
    assert taxonomy_without(PCM_9, []) is PCM_9
    with pytest.raises(TaxonomyError, match="platelet"):
        taxonomy_without(PCM_9, ["platelet"])

"""Each published layout, as a fabricated miniature, becomes the right classes, splits and patients."""

from __future__ import annotations

import pytest
from data import make_layouts
from data.make_layouts import PCM_CLASSES

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.dataset.sources import SOURCES


@pytest.mark.parametrize(
    ("make", "format", "source", "classes"),
    [
        ("munich", "folders", "munich", {"basophil": 1, "myelocyte": 1, "myeloblast": 2, "smudge_cell": 1}),
        ("marrow_21", "folders", "marrow-21", {"abnormal_eosinophil": 1, "blast": 2, "myelocyte": 1}),
        ("acevedo", "folders", "pbc", {"segmented_neutrophil": 1, "band_neutrophil": 1, "neutrophil": 1,
                                       "metamyelocyte": 1, "promyelocyte": 1, "immature_granulocyte": 1,
                                       "platelet": 1, "erythroblast": 1}),
        ("raabin", "folders", "raabin", {"basophil": 1, "neutrophil": 1, "monocyte": 1, "eosinophil": 1}),
        ("cnmc_folds", "folders", "cnmc", {"lymphoblast": 2, "lymphoid_precursor": 1}),
        ("all_idb1", "xyc", "all-idb1", {"lymphoblast": 2}),
    ],
)  # fmt: skip
def test_layout(tmp_path, make, format, source, classes):
    root = getattr(make_layouts, f"make_{make}")(tmp_path / "src")
    report = import_dataset(format, root, tmp_path / "out", source=source)
    assert report.cells_by_class == dict(sorted(classes.items()))
    assert report.n_dropped == 0 and report.images_without_annotation == ()
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.licence, dataset.citation) == (SOURCES[source].licence, SOURCES[source].citation)
    if make == "raabin":
        assert [f.split for f in dataset.fields] == ["test", "test", "train", "train"]
    if make == "cnmc_folds":
        assert {f.key.patient_id for f in dataset.fields} == {"1", "H6", "2"}


def test_all_idb1_squares_say_that_they_are_none(tmp_path):
    report = import_dataset("xyc", make_layouts.make_all_idb1(tmp_path / "src"), tmp_path / "out", source="all-idb1")
    patient, healthy = read_dataset(tmp_path / "out").fields
    assert healthy.cells == ()
    assert {c.attributes for c in patient.cells} == {(("box_from", "centroid"),)}
    # 257 px about the centroid, cut at the picture's edge.
    assert [c.box for c in patient.cells] == [(0, 0, 240.5, 218.5), (171.5, 71.5, 428.5, 328.5)]
    assert "only lymphoblasts are marked" in {i.reason for i in report.issues}


@pytest.mark.parametrize("layout", ["cvat", "coco", "yolo"])
def test_pcm_in_each_export_of_cvat(tmp_path, layout):
    report = import_dataset(
        layout, make_layouts.make_pcm(tmp_path / "src", layout), tmp_path / "out", source="pcm", taxonomy="pcm-9"
    )
    (field,) = read_dataset(tmp_path / "out").fields
    assert [c.source_code for c in field.cells] == list(PCM_CLASSES)
    assert [c.box for c in field.cells] == [(4 * i, 2, 4 * i + 4, 10) for i in range(9)]
    assert report.issues == ()


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_leukemia_attri_keeps_its_attributes(tmp_path, layout):
    root = make_layouts.make_leukemia_attri(tmp_path / "src", layout)
    if layout == "yolo":
        (root / "WBC_v1.yaml").rename(root / "data.yaml")
    report = import_dataset(layout, root, tmp_path / "out", source="leukemia-attri")
    (field,) = read_dataset(tmp_path / "out").fields
    attributes = [dict(c.attributes) for c in field.cells]
    if layout == "coco":
        assert report.cells_by_class == {"apl_promyelocyte": 1, "artefact": 1, "lymphoblast": 1}
        assert attributes == [{"cell_size": str(n)} for n in range(3)]
    else:
        # Six numbers behind a box, which would otherwise be an outline of five points.
        assert report.cells_by_class == {"artefact": 1, "lymphoblast": 1}
        assert attributes[0] == {"a1": "1", "a2": "0", "a3": "2", "a4": "1", "a5": "1", "a6": "0"}
        assert field.cells[0].box == (16, 9, 24, 21) and field.cells[0].contour is None
    assert field.split == "train"

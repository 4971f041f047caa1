"""QuPath's GeoJSON: annotations are read, detections and points listed."""

from __future__ import annotations

import pytest
from data.almost_right import picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL
from data.tool_texts import OUTLINE


def feature(name="neutrophil", kind="annotation", ring=OUTLINE, geometry="Polygon"):
    points = [[*ring, ring[0]]]
    classification = {"name": name, "color": [200, 0, 0]} if name else None
    return {"type": "Feature", "id": "x", "geometry": {"type": geometry, "coordinates": points},
            "properties": {"objectType": kind, "classification": classification}}  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda f: {"type": "FeatureCollection", "features": f}, list])
@pytest.mark.parametrize("file", ["a.geojson", "a.png.geojson", "a.json"])
def test_geojson_of_qupath(tmp_path, wrap, file):
    picture(tmp_path / "a.png")
    lone = feature(geometry="Point", ring=[[1, 1]])
    put(
        tmp_path / file, wrap([feature(), feature("", ring=[[60, 10], [90, 10], [90, 50]]), feature(kind="cell"), lone])
    )
    report, cells = take("geojson", tmp_path)
    assert cells == {"a.png": [("neutrophil", NEUTROPHIL), (None, [60, 10, 90, 50])]}
    assert sorted(reasons(report)) == [
        "a Point is no outline of a cell",
        "a model's prediction, not truth (--keep-predictions)",
    ]


def test_regions_of_interest_are_no_cells_and_a_class_may_be_text(tmp_path):
    picture(tmp_path / "a.png")
    whole = [[0, 0], [120, 0], [120, 80], [0, 80]]
    text = feature()
    text["properties"]["classification"] = "neutrophil"
    put(
        tmp_path / "a.geojson",
        [text, feature("Region*", ring=whole), feature("Ignore*", geometry="Point", ring=[[1, 1]])],
    )
    report, cells = take("geojson", tmp_path)
    assert cells == {"a.png": [("neutrophil", NEUTROPHIL)]} and report.n_dropped == 2
    assert sorted(reasons(report)) == [
        "an object of class Ignore* marks a region, not a cell",
        "an object of class Region* marks a region, not a cell",
    ]

"""Supervisely's projects: what they draw is read, the rest is listed."""

from __future__ import annotations

import base64
import zlib

import pytest
from data.almost_right import picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL
from data.tool_texts import MASK, OUTLINE, png

from leukoscope.dataset.manifest import read_dataset


def supervisely(*objects, tags=()):
    return {"description": "", "tags": list(tags), "size": {"height": 100, "width": 200}, "objects": list(objects)}


def thing(kind, exterior=None, **more):
    points = {"exterior": exterior or [], "interior": []}
    return {"classTitle": "neutrophil", "geometryType": kind, "points": points, "tags": [], **more}


def bitmap(mask, origin):
    return {"data": base64.b64encode(zlib.compress(png(mask))).decode(), "origin": origin}


@pytest.mark.parametrize(
    ("one", "box"),
    [
        (thing("rectangle", [[40, 50], [10, 10]]), NEUTROPHIL),
        (thing("polygon", OUTLINE), NEUTROPHIL),
        (thing("bitmap", bitmap=bitmap(MASK, [10, 10])), NEUTROPHIL),
    ],
)
def test_supervisely_shapes(tmp_path, one, box):
    put(tmp_path / "meta.json", {"classes": [{"title": "neutrophil"}], "tags": []})
    for day, content in (("day1", supervisely(one)), ("day2", supervisely())):
        picture(tmp_path / day / "img/a.png")
        put(tmp_path / day / "ann/a.png.json", content)
    assert take("supervisely", tmp_path)[1] == {"day1/img/a.png": [("neutrophil", box)], "day2/img/a.png": []}


def test_supervisely_says_what_it_knows_and_lists_what_is_no_cell(tmp_path):
    picture(tmp_path / "ds/img/a.png")
    told = thing("rectangle", OUTLINE[::2], tags=[{"name": "focus", "value": "poor"}, {"name": "odd", "value": None}])
    model = thing("polygon", OUTLINE, tags=[{"name": "confidence", "value": 0.9}])
    bad = thing("bitmap", bitmap={"data": "AAAA", "origin": [1, 1]})
    put(tmp_path / "ds/ann/a.png.json", supervisely(told, model, bad, thing("point", [[1, 1]])))
    report, cells = take("supervisely", tmp_path)
    assert len(cells["ds/img/a.png"]) == 1 and report.n_objects == 4
    attributes = read_dataset(tmp_path / "out").fields[0].cells[0].attributes
    assert dict(attributes) == {"focus": "poor", "odd": "true"}
    assert sorted(reasons(report)) == [
        "a model's prediction, not truth (--keep-predictions)",
        "a point is no outline of a cell",
        "bitmap that can't be read",
    ]
    put(tmp_path / "ds/ann/a.png.json", supervisely(tags=[{"name": "lymphocyte", "value": None}]))
    assert take("supervisely", tmp_path, replace_set=True)[1] == {"ds/img/a.png": [("lymphocyte", [0, 0, 200, 100])]}

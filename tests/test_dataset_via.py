"""VIA's files, projects and tables: what they draw is read, the rest is listed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.almost_right import picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL

from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError

RECT = {"name": "rect", "x": 10, "y": 10, "width": 30, "height": 40}


VIA_SHAPES = [
    (RECT, NEUTROPHIL),
    ({"name": "circle", "cx": 100, "cy": 50, "r": 20}, [80, 30, 120, 70]),
    ({"name": "ellipse", "cx": 100, "cy": 50, "rx": 30, "ry": 10, "theta": np.pi / 2}, [90, 20, 110, 80]),
    ({"name": "polygon", "all_points_x": [10, 40, 40], "all_points_y": [10, 10, 50]}, NEUTROPHIL),
]


def via(*shapes, of_file=None, **said):
    regions = [{"shape_attributes": s, "region_attributes": said or {"type": "neutrophil"}} for s in shapes]
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": of_file or {}}}


@pytest.mark.parametrize(("one", "box"), VIA_SHAPES)
@pytest.mark.parametrize("layout", ["json", "project", "via 1", "csv"])
def test_via_shapes(tmp_path, one, box, layout):
    picture(tmp_path / "a.png")
    content = via(one)
    if layout == "csv":
        columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
        quoted = ['"' + json.dumps(v).replace('"', '""') + '"' for v in (one, {"type": "neutrophil"})]
        put(tmp_path / "a.csv", f'{columns}\na.png,123,"{{}}",1,0,{",".join(quoted)}\n')
    else:
        if layout == "via 1":
            content["a.png123"]["regions"] = dict(enumerate(content["a.png123"]["regions"]))
        put(
            tmp_path / "a.json", {"_via_settings": {}, "_via_img_metadata": content} if layout == "project" else content
        )
    assert take("via", tmp_path)[1] == {"a.png": [("neutrophil", box)]}


def test_via_says_which_attribute_is_the_class(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.json", via(RECT, kind={"neutrophil": True}, focus="sharp"))
    with pytest.raises(DataError, match="attributes kind, focus: state with --code-attribute"):
        take("via", tmp_path)
    _, cells = take("via", tmp_path, stated={"code_attribute": "kind"})
    assert cells == {"a.png": [("neutrophil", NEUTROPHIL)]}
    assert dict(read_dataset(tmp_path / "out").fields[0].cells[0].attributes) == {"focus": "sharp"}


def test_via_lists_what_is_no_cell_and_takes_classes_of_whole_pictures(tmp_path):
    picture(tmp_path / "a.png")
    point = {"name": "point", "cx": 1, "cy": 1}
    put(tmp_path / "a.json", via(RECT, point, {"name": "rect", "x": 1}))
    assert reasons(take("via", tmp_path)[0]) == ["a point is no outline of a cell", "rect that can't be read"]
    put(tmp_path / "a.json", via(of_file={"type": "lymphocyte"}))
    assert take("via", tmp_path, replace_set=True)[1] == {"a.png": [("lymphocyte", [0, 0, 200, 100])]}

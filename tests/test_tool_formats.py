"""The formats of annotation tools that users of this field have: what each writes is read, the rest is listed."""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from test_almost_right import NEUTROPHIL, picture, put, reasons, take

from leukoscope.cli import main
from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.formats import FORMATS, writable
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError

OUTLINE = [[10, 10], [40, 10], [40, 50], [10, 50]]


def png(mask, mode="L"):
    out = io.BytesIO()
    Image.fromarray(mask).convert(mode).save(out, "PNG")
    return out.getvalue()


MASK = np.full((40, 30), 255, np.uint8)


def labelme(*shapes, **more):
    return {"version": "5", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageWidth": 200,
            "imageHeight": 100, **more}  # fmt: skip


def shape(kind, points, **more):
    return {"label": "neutrophil", "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


@pytest.mark.parametrize(
    ("one", "box"),
    [
        (shape("rectangle", [[40, 50], [10, 10]]), NEUTROPHIL),
        (shape("polygon", OUTLINE), NEUTROPHIL),
        (shape("circle", [[100, 50], [130, 90]]), [50, 0, 150, 100]),
        (shape("mask", [[10, 10], [39, 49]], mask=base64.b64encode(png(MASK)).decode()), NEUTROPHIL),
    ],
)
def test_labelme_shapes(tmp_path, one, box):
    picture(tmp_path / "images/a.png")
    put(tmp_path / "json/a.json", labelme(one, imagePath="..\\images\\a.png"))
    assert take("labelme", tmp_path)[1] == {"images/a.png": [("neutrophil", box)]}


def test_labelme_says_what_it_knows_and_lists_what_is_no_cell(tmp_path):
    picture(tmp_path / "a.png")
    told = shape("rectangle", [[10, 10], [40, 50]], group_id=3, flags={"blurred": True}, description="odd")
    others = [
        shape("point", [[1, 1]]),
        shape("rectangle", [[1, 1]]),
        shape("rectangle", OUTLINE[::2], label=""),
        shape("rectangle", [[60, 10], [90, 50]], score=0.8),
        shape("mask", [[1, 1], [5, 5]], mask="!"),
    ]
    put(tmp_path / "a.json", labelme(told, *others))
    report, cells = take("labelme", tmp_path)
    assert len(cells["a.png"]) == 1 and report.n_objects == 6
    assert dict(read_dataset(tmp_path / "out").fields[0].cells[0].attributes) == {
        "blurred": "true", "group_id": "3", "description": "odd",
    }  # fmt: skip
    assert sorted(reasons(report)) == [
        "a model's prediction, not truth (--keep-predictions)",
        "a point is no outline of a cell",
        "mask that can't be read",
        "rectangle that can't be read",
        "shape without a label",
    ]


def test_labelme_flags_of_whole_pictures_are_their_classes(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.json", labelme(flags={"lymphocyte": True, "monocyte": False}))
    assert take("labelme", tmp_path)[1] == {"a.png": [("lymphocyte", [0, 0, 200, 100])]}


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


def datumaro(*annotations, path="a.png"):
    labels = [{"name": n, "parent": "", "attributes": []} for n in ("neutrophil", "lymphocyte")]
    annotations = [{"id": n, "label_id": 0, "group": 0, "attributes": {}, **a} for n, a in enumerate(annotations)]
    item = {"id": "a", "annotations": annotations, "image": {"path": path, "size": [100, 200]}}
    return {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}


RLE = {"size": [100, 200], "counts": [1010, 40] + [60, 40] * 29 + [20000 - 1050 - 2900]}


@pytest.mark.parametrize(
    ("one", "box"),
    [
        ({"type": "bbox", "bbox": [10, 10, 30, 40]}, NEUTROPHIL),
        ({"type": "bbox", "bbox": [70, 40, 60, 20], "attributes": {"rotation": 90.0}}, [90, 20, 110, 80]),
        ({"type": "rotated_bbox", "rotated_bbox": [100, 50, 60, 20, 90]}, [90, 20, 110, 80]),
        ({"type": "polygon", "points": [10, 10, 40, 10, 40, 50]}, NEUTROPHIL),
        ({"type": "ellipse", "points": [10, 10, 40, 50]}, NEUTROPHIL),
        ({"type": "mask", "rle": RLE}, NEUTROPHIL),
        ({"type": "label"}, [0, 0, 200, 100]),
    ],
)
def test_datumaro_shapes(tmp_path, one, box):
    picture(tmp_path / "images/train/a.png")
    put(tmp_path / "annotations/train.json", datumaro(one))
    report, cells = take("datumaro", tmp_path)
    assert cells == {"images/train/a.png": [("neutrophil", box)]} and report.fields_by_split == {"train": 1}


@pytest.mark.parametrize("label", ["1", 1.0])
def test_datumaro_label_ids_of_another_type(tmp_path, label):
    picture(tmp_path / "a.png")
    put(tmp_path / "annotations/train.json", datumaro({"type": "bbox", "bbox": [10, 10, 30, 40], "label_id": label}))
    assert take("datumaro", tmp_path)[1] == {"a.png": [("lymphocyte", NEUTROPHIL)]}


def test_datumaro_says_what_it_knows_and_lists_what_is_no_cell(tmp_path):
    picture(tmp_path / "a.png")
    box = {"type": "bbox", "bbox": [10, 10, 30, 40]}
    told = box | {"group": 2, "attributes": {"occluded": True, "rotation": 0.0}}
    others = [box | {"attributes": {"keyframe": False}}, box | {"attributes": {"score": 0.5}},
              {"type": "points", "points": [1, 1]}, {"type": "bbox", "bbox": [1, 2]}, {"type": "caption"}]  # fmt: skip
    put(tmp_path / "annotations/default.json", datumaro(told, *others))
    report, cells = take("datumaro", tmp_path)
    assert len(cells["a.png"]) == 1 and report.n_objects == 5
    assert dict(read_dataset(tmp_path / "out").fields[0].cells[0].attributes) == {"occluded": "True", "group_id": "2"}
    assert sorted(reasons(report)) == [
        "a model's prediction, not truth (--keep-predictions)",
        "a points is no outline of a cell",
        "bbox that can't be read",
        "interpolated between key frames: nobody looked at it",
        "words about the whole picture not kept",
    ]


BACKUP_SHAPES = [
    ({"type": "rectangle", "points": [10, 10, 40, 50]}, NEUTROPHIL),
    ({"type": "rectangle", "points": [70, 40, 130, 60], "rotation": 90.0}, [90, 20, 110, 80]),
    ({"type": "polygon", "points": [10, 10, 40, 10, 40, 50]}, NEUTROPHIL),
    ({"type": "ellipse", "points": [100, 50, 130, 40]}, [70, 40, 130, 60]),
    ({"type": "mask", "points": [0, 1200, 10, 10, 39, 49]}, NEUTROPHIL),
]


def backup(root, *shapes, status="completed", tracks=(), tags=()):
    shapes = [{"frame": 0, "label": "neutrophil", "source": "manual", **s} for s in shapes]
    put(root / "task.json", {"jobs": [{"start_frame": 0, "stop_frame": 1, "status": status}], "data": {}})
    put(root / "annotations.json", [{"shapes": shapes, "tracks": list(tracks), "tags": list(tags)}])
    lines = [{"version": "1.1"}, {"type": "images"}]
    for name in "ab":
        picture(root / f"data/{name}.png")
        lines.append({"name": name, "extension": ".png", "width": 200, "height": 100})
    put(root / "data/manifest.jsonl", "\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize(("one", "box"), BACKUP_SHAPES)
def test_cvats_backup_of_a_task(tmp_path, one, box):
    backup(tmp_path, one)
    assert take("cvat", tmp_path)[1] == {"data/a.png": [("neutrophil", box)], "data/b.png": []}


def test_a_frame_of_a_job_in_progress_is_not_empty(tmp_path):
    moving = {"type": "rectangle", "points": [10, 10, 40, 50], "frame": 0, "outside": False}
    track = {"label": "neutrophil", "shapes": [moving, moving | {"frame": 1, "outside": True}]}
    told = {"type": "rectangle", "points": [90, 10, 120, 50], "group": 2,
            "attributes": [{"name": "focus", "value": "poor"}]}  # fmt: skip
    model, point = moving | {"source": "auto", "label": "neutrophil"}, {"type": "points", "points": [1, 1]}
    backup(tmp_path, told, model, point, status="annotation", tracks=[track])
    report, cells = take("cvat", tmp_path)
    assert list(cells) == ["data/a.png"] and len(cells["data/a.png"]) == 2 and report.n_objects == 4
    assert report.images_without_annotation == ("data/b.png",)
    attributes = [dict(c.attributes) for c in read_dataset(tmp_path / "out").fields[0].cells]
    assert {"focus": "poor", "group_id": "2"} in attributes
    backup(tmp_path, tags=[{"frame": 1, "label": "lymphocyte"}], status="annotation")
    assert take("cvat", tmp_path, replace_set=True)[1] == {"data/b.png": [("lymphocyte", [0, 0, 200, 100])]}


@pytest.mark.parametrize("format", [f.name for f in FORMATS if f.reader])
def test_a_set_of_another_format_is_refused_on_one_line(tmp_path, format):
    picture(tmp_path / "a.png")
    put(tmp_path / "notes.md", "nothing here")
    with pytest.raises((DataError, InputError)) as caught:
        import_dataset(format, tmp_path, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1 and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("format", writable())
def test_what_is_written_other_readers_find(tmp_path, format):
    """Outlines, boxes and splits as the format's own readers expect them, beside what only ours reads."""
    picture(tmp_path / "set/a.png")
    turned = '<box label="lymphocyte" rotation="90" xtl="70" ytl="40" xbr="130" ybr="60"/>'
    upright = '<box label="neutrophil" xtl="10" ytl="10" xbr="40" ybr="50"/>'
    text = f'<annotations><image id="0" name="a.png" width="200" height="100">{upright}{turned}</image></annotations>'
    put(tmp_path / "set/a.xml", text)
    import_dataset("cvat", tmp_path / "set", tmp_path / "made")
    export_dataset(format, tmp_path / "made", tmp_path / "out")
    report = import_dataset(format, tmp_path / "out", tmp_path / "back")
    assert (report.n_cells, report.n_dropped) == (2, 0)
    if format == "voc":
        text = (tmp_path / "out/Annotations/a.xml").read_text("utf-8")
        assert "<xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>50</ymax>" in text and "<polygon><x1>" in text
    if format == "geojson":
        content = json.loads((tmp_path / "out/geojson/default/a.png.geojson").read_text("utf-8"))
        assert [f["properties"]["objectType"] for f in content["features"]] == ["annotation"] * 2
        ring = content["features"][0]["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1] and len(ring) == 5


def test_classes_lists_names_codes_and_writes_a_table(tmp_path, capsys):
    assert main(["dataset", "classes"]) == 0
    assert "segmented_neutrophil" in capsys.readouterr().out
    for folder, n in (("Neutrophil", 2), ("lymphocytes", 1), ("MO", 1), ("zzz", 1)):
        for k in range(n):
            picture(tmp_path / f"set/{folder}/{folder}{k}.png")
    table = tmp_path / "ours.toml"
    assert main(["dataset", "classes", "folders", str(tmp_path / "set"), "--toml", str(table)]) == 0
    said = capsys.readouterr().out
    assert "4 codes of 5 objects" in said and "unknown; perhaps lymphocyte" in said and "perhaps monocyte" in said
    assert "(3 codes in it need their class, see its comments)" in said
    text = table.read_text("utf-8")
    for code, name in (("lymphocytes", "lymphocyte"), ("MO", "monocyte"), ("zzz", "other")):
        text = text.replace(f'# "{code}" = "?"', f'"{code}" = "{name}"')
    table.write_text(text, "utf-8")
    assert take("folders", tmp_path / "set", source=table)[0].cells_by_class == {
        "lymphocyte": 1, "monocyte": 1, "neutrophil": 2, "other": 1,
    }  # fmt: skip
    assert main(["dataset", "classes", "folders", str(tmp_path / "set"), "--toml", str(table)]) == 2
    assert main(["dataset", "classes", "--source", "pbc"]) == 0
    assert main(["dataset", "classes", "folders"]) == 2

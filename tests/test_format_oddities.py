"""Nothing silent: each oddity of the table in docs/format.md, in every format where it can occur.

One small set, written in each format with one thing odd; what the import makes of it is stated here, once.
"""

from __future__ import annotations

import json

import pytest
from data.make_pictures import draw_field

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import LeukoscopeError, TaxonomyError

SIZE = (40, 30)
BOXED = ("yolo", "voc", "coco", "cvat", "csv", "label-studio")
GOOD = ("lymphocyte", 4, 5, 14, 17)
NAN = float("nan")


def write_set(format, root, cells, *, name="a.png", listed=True, picture=True):
    """A set of one picture `a.png` (or none) and one annotation that names it `name` and holds `cells`."""
    draw_field(root / "images/b.png", SIZE, [(9, 9, 4)], seed=7)
    if picture:
        draw_field(root / "images/a.png", SIZE, [(9, 9, 4)])
    annotated = {"a": (name, cells)} if listed else {}
    WRITERS[format](root, annotated | {"b": ("b.png", [GOOD])})
    return root


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")


def yolo(root, annotated):
    put(root / "data.yaml", "names: [lymphocyte, monocyte, strange]\n")
    numbers = {"lymphocyte": 0, "monocyte": 1, "strange": 2}
    for stem, (_, cells) in annotated.items():
        lines = [
            f"{numbers[n]} {(x0 + x1) / 80} {(y0 + y1) / 60} {(x1 - x0) / 40} {(y1 - y0) / 30}\n"
            for n, x0, y0, x1, y1 in cells
        ]
        put(root / f"labels/{stem}.txt", "".join(lines))


def voc(root, annotated):
    for stem, (name, cells) in annotated.items():
        objects = "".join(
            f"<object><name>{n}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
            for n, a, b, c, d in cells
        )
        put(root / f"Annotations/{stem}.xml", f"<annotation><filename>{name}</filename>{objects}</annotation>")


def coco(root, annotated):
    categories = {"monocyte": 12, "lymphocyte": 70, "strange": 71}
    images, annotations = [], []
    for image_id, (name, cells) in zip((900, 17), annotated.values(), strict=False):
        images.append({"id": image_id, "file_name": name})
        for n, x0, y0, x1, y1 in cells:
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": 5 + 3 * len(annotations), "image_id": image_id, "category_id": categories[n], "bbox": box}
            )
    listed = [{"id": i, "name": n} for n, i in categories.items()]
    put(root / "set.json", {"images": images, "annotations": annotations, "categories": listed})


def cvat(root, annotated):
    images = "".join(
        f'<image id="{900 - 3 * i}" name="{name}">'
        + "".join(f'<box label="{n}" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"/>' for n, a, b, c, d in cells)
        + "</image>"
        for i, (name, cells) in enumerate(annotated.values())
    )
    put(root / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


def csv(root, annotated):
    rows = [f"{name},{n},{a},{b},{c},{d}" for name, cells in annotated.values() for n, a, b, c, d in cells]
    put(root / "t.csv", "\n".join(["image,label,x0,y0,x1,y1", *rows]) + "\n")


def label_studio(root, annotated):
    tasks = []
    for name, cells in annotated.values():
        regions = [
            {"id": str(i), "type": "rectanglelabels", "value": {"x": a / 0.4, "y": b / 0.3, "width": (c - a) / 0.4,
                                                                "height": (d - b) / 0.3, "rectanglelabels": [n]}}
            for i, (n, a, b, c, d) in enumerate(cells)
        ]  # fmt: skip
        tasks.append({"id": 44, "data": {"image": name}, "annotations": [{"result": regions}]})
    put(root / "export.json", tasks)


WRITERS = {"yolo": yolo, "voc": voc, "coco": coco, "cvat": cvat, "csv": csv, "label-studio": label_studio}


def imported(format, root):
    """(report, cells of a.png or None); every object is accounted for."""
    report = import_dataset(format, root, root / "out")
    assert report.n_objects == report.n_cells + report.n_dropped
    fields = {f.file: f for f in read_dataset(root / "out").fields}
    return report, fields["images/a.png"].cells if "images/a.png" in fields else None


@pytest.mark.parametrize("format", [f for f in BOXED if f != "csv"])
def test_a_picture_without_objects_is_kept_and_ids_are_only_keys(tmp_path, format):
    report, cells = imported(format, write_set(format, tmp_path, []))
    assert cells == () and report.n_fields == 2 and report.images_without_annotation == ()


@pytest.mark.parametrize("format", BOXED)
@pytest.mark.parametrize(
    ("box", "action", "reason", "kept"),
    [
        ((4, 5, 4, 17), "dropped", "box without area", None),
        ((50, 5, 60, 17), "dropped", "box outside its picture", None),
        ((30, 5, 60, 17), "repaired", "box cut at the picture's edge", (30, 5, 40, 17)),
        ((14, 17, 4, 5), "repaired", "corners swapped", (4, 5, 14, 17)),
        ((NAN, 5, 14, 17), "dropped", "box is not a number", None),
    ],
    ids=("no area", "outside", "over the edge", "swapped", "no number"),
)
def test_odd_boxes(tmp_path, format, box, action, reason, kept):
    report, cells = imported(format, write_set(format, tmp_path, [("monocyte", *box)]))
    assert [(i.file, i.action, i.reason) for i in report.issues] == [("images/a.png", action, reason)]
    if kept is None:  # the only object is lost: to keep the picture would say that it holds no cell
        assert cells is None and report.images_that_lost_all == ("images/a.png",)
    else:
        assert [c.box for c in cells] == [pytest.approx(kept, abs=0.001)]


@pytest.mark.parametrize("format", BOXED)
def test_duplicate_boxes(tmp_path, format):
    cells = [GOOD, GOOD, ("monocyte", *GOOD[1:])]
    report, kept = imported(format, write_set(format, tmp_path, cells))
    assert [(i.action, i.reason) for i in report.issues] == [
        ("dropped", "box given twice"),
        ("noted", "one box of two classes, both kept"),
    ]
    assert [c.class_name for c in kept] == ["lymphocyte", "monocyte"]


@pytest.mark.parametrize("format", BOXED)
def test_a_missing_picture(tmp_path, format):
    report, cells = imported(format, write_set(format, tmp_path, [GOOD], picture=False))
    assert cells is None and len(report.annotations_without_image) == 1
    assert [(i.reason, i.n) for i in report.issues] == [("picture not found", 1)]


@pytest.mark.parametrize("format", BOXED)
def test_an_extra_picture(tmp_path, format):
    report, cells = imported(format, write_set(format, tmp_path, [], listed=False))
    assert cells is None and report.images_without_annotation == ("images/a.png",)


@pytest.mark.parametrize("format", BOXED)
def test_an_unreadable_picture(tmp_path, format):
    write_set(format, tmp_path, [GOOD, ("monocyte", 1, 1, 9, 9)])
    (tmp_path / "images/a.png").write_bytes(b"\x89PNG cut off")
    report, cells = imported(format, tmp_path)
    assert cells is None
    assert [(i.action, i.reason, i.n) for i in report.issues] == [("dropped", "unreadable picture", 2)]


@pytest.mark.parametrize("format", [f for f in BOXED if f != "yolo"])
@pytest.mark.parametrize(
    ("name", "noted"), [("C:\\set\\images\\a.png", 0), ("images/A.PNG", 0), ("a.bmp", 1), ("x/a.png", 1)]
)
def test_windows_paths_and_odd_extensions(tmp_path, format, name, noted):
    report, cells = imported(format, write_set(format, tmp_path, [GOOD], name=name))
    assert len(cells) == 1
    assert [i.reason for i in report.issues] == ["picture in another folder or of another suffix than stated"] * noted


FILES = {"yolo": "labels/a.txt", "voc": "Annotations/a.xml", "coco": "set.json", "cvat": "annotations.xml",
         "csv": "t.csv", "label-studio": "export.json"}  # fmt: skip


@pytest.mark.parametrize("format", BOXED)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_and_windows_line_ends(tmp_path, format, encoding):
    write_set(format, tmp_path, [GOOD])
    file = tmp_path / FILES[format]
    file.write_bytes(file.read_text("utf-8").replace("\n", "\r\n").encode(encoding))
    report, cells = imported(format, tmp_path)
    assert [c.class_name for c in cells] == ["lymphocyte"] and report.issues == ()


@pytest.mark.parametrize("format", BOXED)
def test_an_unmapped_class_is_refused(tmp_path, format):
    with pytest.raises(TaxonomyError, match=r"no class for 'strange' \(1 cells, first in images/a.png\)"):
        imported(format, write_set(format, tmp_path, [("strange", 1, 1, 9, 9)]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", BOXED)
def test_an_empty_file(tmp_path, format):
    """For YOLO an empty file says "nothing here"; the other formats can't say anything with no content: refused."""
    write_set(format, tmp_path, [GOOD])
    (tmp_path / FILES[format]).write_bytes(b"")
    if format == "yolo":
        assert imported(format, tmp_path)[1] == ()
        return
    with pytest.raises(LeukoscopeError) as caught:
        imported(format, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_category_order_that_differs_between_splits(tmp_path):
    for split, order in (("train", "lymphocyte, monocyte"), ("val", "monocyte, lymphocyte")):
        draw_field(tmp_path / f"y/{split}/images/{split}.png", SIZE, [])
        put(tmp_path / f"y/{split}/labels/{split}.txt", "0 0.5 0.5 0.2 0.2\n")
        put(tmp_path / f"y/{split}/data.yaml", f"names: [{order}]\n")
        draw_field(tmp_path / f"c/{split}/{split}.png", SIZE, [])
        categories = [{"id": i, "name": n} for i, n in enumerate(order.split(", "))]
        annotation = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [1, 1, 9, 9]}
        content = {"images": [{"id": 0, "file_name": f"{split}.png"}], "annotations": [annotation]}
        put(tmp_path / f"c/{split}/_annotations.coco.json", content | {"categories": categories})
    for format, place, reason in (("yolo", "y", "class order differs"), ("coco", "c", "category order differs")):
        report = import_dataset(format, tmp_path / place, tmp_path / "out" / place)
        fields = read_dataset(tmp_path / "out" / place).fields
        assert {f.split: f.cells[0].class_name for f in fields} == {"train": "lymphocyte", "val": "monocyte"}
        assert [i.reason for i in report.issues] == [reason]

"""Further formats: COCO, CVAT, Label Studio, centroids, YOLO's layouts; what each reader makes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.make_pictures import draw_field

from leukoscope.dataset.coco import read_coco
from leukoscope.dataset.cvat import read_cvat
from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.label_studio import read_label_studio
from leukoscope.dataset.manifest import read_dataset
from leukoscope.dataset.rle import outline_of, read_coco_rle
from leukoscope.dataset.yolo import read_yolo
from leukoscope.errors import DataError, InputError, TaxonomyError

SIZE = (40, 30)


def picture(path, seed=0):
    draw_field(path, SIZE, [(10, 10, 5)], seed=seed)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")


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


def issues(raw, action="noted"):
    return [i.reason for i in raw.issues if i.action == action]


def one_cell(reader, root):
    (field,) = reader(root).fields
    (cell,) = field.cells
    return cell


MASK = np.zeros((30, 40), bool)
MASK[4:9, 6:13] = True
MASK[9, 8] = True


def counts(mask):
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, len(flat)]).tolist()
    return runs if not flat[0] else [0, *runs]


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


def cvat(*shapes, name="a.png", more="", attributes='width="40" height="30"'):
    return (
        "<annotations><version>1.1</version><meta><task/></meta>"
        f'<image id="0" name="{name}" {attributes}>{"".join(shapes)}</image>{more}</annotations>'
    )


BOX = '<box label="lymphocyte" occluded="0" xtl="2.00" ytl="3.00" xbr="12.00" ybr="15.00" z_order="0"></box>'


def test_cvat_shapes_and_attributes(tmp_path):
    picture(tmp_path / "images/a.png")
    shapes = (
        BOX.replace("></box>", '><attribute name="nucleolus">prominent</attribute></box>'),
        '<polygon label="monocyte" occluded="1" points="1,2;9.5,2;9.5,8"></polygon>',
        '<mask label="basophil" rle="1, 2, 3" left="4" top="5" width="3" height="2"></mask>',
        '<tag label="field"><attribute name="patient_id">P1</attribute><attribute name="smear_id">S</attribute></tag>',
    )
    write(tmp_path / "annotations.xml", cvat(*shapes))
    (field,) = read_cvat(tmp_path).fields
    box, polygon, mask = field.cells
    assert (box.box, box.code, box.attributes) == ((2, 3, 12, 15), "lymphocyte", (("nucleolus", "prominent"),))
    assert polygon.box == (1, 2, 9.5, 8) and polygon.attributes == (("occluded", "1"),)
    # Along the rows of its own box of 3 x 2: pixels 1 and 2 of the first row.
    assert mask.contour == ((5, 5), (7, 5), (7, 6), (5, 6)) and mask.box == (4, 5, 7, 7)
    assert (field.patient_id, field.smear_id) == ("P1", "S")


def test_cvat_turned_boxes_and_other_shapes(tmp_path):
    picture(tmp_path / "a.png")
    turned = BOX.replace('z_order="0"', 'rotation="90.0"')
    others = '<points label="lymphocyte" points="1,2"></points><tag label="blurred"></tag>'
    write(tmp_path / "annotations.xml", cvat(turned, others, BOX.replace("2.00", "x", 1)))
    raw = read_cvat(tmp_path)
    assert raw.fields[0].cells[0].box == pytest.approx((1, 4, 13, 14))
    assert issues(raw, "repaired") == ["rotated box: the box around it"]
    assert issues(raw, "dropped") == ["a points is no outline of a cell", "box that can't be read"]
    assert issues(raw) == ["tag of a picture not kept"]
    assert raw.n_objects == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotation/>", "that is VOC: use the voc format"),
        ("<html/>", "expected <annotations>, got <html>"),
        (cvat().replace("1.1", "2.0"), "has version 2.0: expected 1.1"),
        (cvat(name=""), "has no name"),
        (cvat(more='<image id="1" name="a.png"/>'), "both annotate a.png"),
        (cvat(attributes='subset="holdout"'), "split must be one of"),
        ("<annotations>", "not well-formed"),
    ],
)
def test_cvat_refuses(tmp_path, text, says):
    picture(tmp_path / "a.png")
    write(tmp_path / "annotations.xml", text)
    with pytest.raises(DataError, match=says):
        read_cvat(tmp_path)


def region(**value):
    return {"id": "r", "type": "rectanglelabels", "value": {"x": 5, "y": 10, "width": 25, "height": 40,
                                                           "rectanglelabels": ["lymphocyte"]} | value}  # fmt: skip


def task(*results, image="/data/upload/3/0a1b2c3d-a.png", **answer):
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(results)} | answer]}


@pytest.mark.parametrize(
    "image",
    ["/data/upload/3/0a1b2c3d-a.png", "s3://bucket/x/a.png", "/data/local-files/?d=set/a.png", "a.png",
     "https://example.org/a.png?token=1.5", "D:\\pictures\\a.png"],
)  # fmt: skip
def test_label_studio_boxes_wherever_the_picture_was(tmp_path, image):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", [task(region(), image=image)])
    assert one_cell(read_label_studio, tmp_path).box == pytest.approx((2, 3, 12, 15))


def test_label_studio_polygons_turned_boxes_and_attributes(tmp_path):
    picture(tmp_path / "a.png")
    polygon = {
        "id": "p",
        "type": "polygonlabels",
        "value": {"points": [[5, 10], [50, 10], [50, 90]], "polygonlabels": ["b"]},
    }
    focus = {"id": "p", "type": "choices", "from_name": "focus", "value": {"choices": ["sharp"]}}
    whole = {"id": "w", "type": "choices", "from_name": "stain", "value": {"choices": ["pale"]}}
    turned = region(rotation=90) | {"id": "t"}
    write(tmp_path / "export.json", [task(polygon, focus, whole, turned)])
    raw = read_label_studio(tmp_path)
    outline, box = raw.fields[0].cells
    assert (outline.contour, outline.attributes) == (((2, 3), (20, 3), (20, 27)), (("focus", "sharp"),))
    assert box.box == pytest.approx((-10, 3, 2, 13))  # about its top left corner
    assert issues(raw) == ["answers about the whole picture not kept"]
    assert issues(raw, "repaired") == ["rotated box: the box around it"]


def test_label_studio_takes_one_persons_answer_and_lists_the_rest(tmp_path):
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    two = task(region()) | {"annotations": [
        {"result": [region(), region(x=50)], "ground_truth": True}, {"result": [region()]},
        {"result": [region()], "was_cancelled": True},
    ]}  # fmt: skip
    none = task(image="b.png") | {"annotations": [], "predictions": [{"result": [region()]}]}
    empty = task(image="c.png")
    write(tmp_path / "export.json", [two, none, empty])
    raw = read_label_studio(tmp_path)
    assert [(f.file, len(f.cells)) for f in raw.fields] == [("a.png", 2), ("c.png", 0)]
    assert raw.images_without_annotation == ["b.png"]
    assert issues(raw, "dropped") == ["another person's annotation not used", "cancelled annotation"]
    assert raw.n_objects == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "brushlabels"}, "a region of type brushlabels is not read: draw rectangles, ellipses or polygons"),
        ({"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": []}}, "region without a label"),
        (
            {"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a", "b"]}},
            "region of several labels",
        ),
        ({"value": {"x": "?", "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a"]}}, "region without numbers"),
    ],
)
def test_label_studio_drops(tmp_path, change, reason):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", [task(region() | change)])
    assert issues(read_label_studio(tmp_path), "dropped") == [reason]


@pytest.mark.parametrize(
    "content", [{"images": []}, [{"image": "a.png", "label": []}], [task(region()) | {"annotations": 3}]]
)
def test_label_studio_refuses(tmp_path, content):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", content)
    with pytest.raises(DataError, match="export it again|export as JSON"):
        read_label_studio(tmp_path)


def test_cvats_own_yolo(tmp_path):
    picture(tmp_path / "obj_train_data/a.png")
    picture(tmp_path / "obj_validation_data/a.png", 1)
    for part in ("train", "validation"):
        write(tmp_path / f"obj_{part}_data/a.txt", "1 0.5 0.5 0.2 0.2\n")
        write(tmp_path / f"{part}.txt", f"data/obj_{part}_data/a.png\n")
    write(tmp_path / "obj.names", "monocyte\nlymphocyte\n")
    write(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    raw = read_yolo(tmp_path)
    assert [(f.file, f.split) for f in raw.fields] == [
        ("obj_train_data/a.png", "train"),
        ("obj_validation_data/a.png", "val"),
    ]
    assert {c.code for f in raw.fields for c in f.cells} == {"lymphocyte"}
    assert raw.issues == [] and raw.annotations_without_image == []


@pytest.mark.parametrize(
    "names", ['["a, b", "c"]', "['a, b', c]", '\n  0: "a, b"  # first\n  1: c\n', "{1: c, 0: 'a, b'}"]
)
def test_yolo_names_in_quotes(tmp_path, names):
    picture(tmp_path / "a.png")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.2\n1 0.4 0.4 0.2 0.2\n")
    write(tmp_path / "data.yaml", f"nc: 2\nnames: {names}\n")
    assert [c.code for c in read_yolo(tmp_path).fields[0].cells] == ["a, b", "c"]


@pytest.mark.parametrize("names", ["[a, b", "{0: a, 0: b}", "\n  0: a\n  0: b\n", '["a]'])
def test_yolo_names_that_can_not_be(tmp_path, names):
    picture(tmp_path / "a.png")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", f"names: {names}")
    with pytest.raises(DataError, match="has no names|twice"):
        read_yolo(tmp_path)


def small_set(root):
    picture(root / "src/lymphocyte/a.png")
    import_dataset("folders", root / "src", root / "set")
    return root / "set"


def test_export_refuses_what_would_mix_or_lie(tmp_path):
    directory = small_set(tmp_path)
    with pytest.raises(InputError, match="no data set format 'xyc': expected one of yolo, "):
        export_dataset("xyc", directory, tmp_path / "out")
    write(tmp_path / "full/x.txt", "x")
    with pytest.raises(InputError, match="is there already"):
        export_dataset("yolo", directory, tmp_path / "full")
    picture(tmp_path / "src/lymphocyte/a.png", 9)
    with pytest.raises(DataError, match="is not the picture that was imported"):
        export_dataset("yolo", directory, tmp_path / "o1")
    (tmp_path / "src/lymphocyte/a.png").unlink()
    with pytest.raises(DataError, match="pictures of data set 'src' were moved"):
        export_dataset("yolo", directory, tmp_path / "o2")


def test_export_says_where_the_rest_is(tmp_path):
    report = export_dataset("yolo", small_set(tmp_path), tmp_path / "out")
    assert json.loads((tmp_path / "out/export-report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert (report.n_fields, report.n_cells, report.class_names) == (1, 1, ("lymphocyte",))
    assert "leukoscope-fields.csv" in report.beside[0]
    assert (tmp_path / "out/images/default/lymphocyte/a.png").is_file()


def test_cvat_labels_hold_every_attribute(tmp_path):
    export_dataset("cvat", small_set(tmp_path), tmp_path / "out")
    labels = {entry["name"]: entry for entry in json.loads((tmp_path / "out/labels.json").read_text())}
    assert {a["name"] for a in labels["field"]["attributes"]} >= {"patient_id", "smear_id", "center", "split"}
    assert {a["name"] for a in labels["lymphocyte"]["attributes"]} == {"source_code", "exact_box"}


def test_an_edited_label_of_an_export_is_read_without_its_row(tmp_path):
    export_dataset("yolo", small_set(tmp_path), tmp_path / "out")
    (tmp_path / "out/labels/default/lymphocyte/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    report = import_dataset("yolo", tmp_path / "out", tmp_path / "back")
    assert read_dataset(tmp_path / "back").fields[0].cells[0].box == (10, 7.5, 30, 22.5)
    assert [i.reason for i in report.issues] == ["cell of the side table is not in the labels"]


def test_a_taxonomy_by_name_counts_what_it_has_not(tmp_path):
    picture(tmp_path / "src/mast_cell/a.png")
    report = import_dataset("folders", tmp_path / "src", tmp_path / "set", taxonomy="pcm-9")
    assert [(i.reason, i.detail) for i in report.issues] == [("class outside taxonomy pcm-9", "mast_cell: 1 cells")]
    with pytest.raises(TaxonomyError, match="no taxonomy 'pcm-8'"):
        import_dataset("folders", tmp_path / "src", tmp_path / "set", taxonomy="pcm-8")


def test_columns_by_hand(tmp_path):
    picture(tmp_path / "src/a.png")
    write(tmp_path / "src/t.csv", "Bild,Typ\na.png,lymphocyte\n")
    report = import_dataset("csv", tmp_path / "src", tmp_path / "set", columns={"image": "Bild", "label": "Typ"})
    assert report.cells_by_class == {"lymphocyte": 1}
    with pytest.raises(InputError, match="columns are for the csv format"):
        import_dataset("folders", tmp_path / "src", tmp_path / "set", columns={"image": "Bild"})

"""What the readers make of layouts and files that others write, malformed and hostile ones too."""

from __future__ import annotations

import pytest
from data.make_bccd import WHITE, annotation
from data.make_pictures import draw_field, draw_mask
from PIL import Image

from leukoscope.dataset.folders import read_folders
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import image_size
from leukoscope.dataset.spreadsheet import read_table
from leukoscope.dataset.table import read_csv
from leukoscope.dataset.text import parse_xml
from leukoscope.dataset.voc import read_voc
from leukoscope.dataset.yolo import read_yolo
from leukoscope.errors import DataError

SIZE = (40, 20)


def picture(path, size=SIZE):
    draw_field(path, size, [(10, 10, 5)])
    return path


def label(path, text="1 0.5 0.5 0.25 0.5\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("image", "text_file", "split"),
    [
        ("train/images/a.png", "train/labels/a.txt", "train"),
        ("images/val/a.png", "labels/val/a.txt", "val"),
        ("images/a.png", "labels/a.txt", None),
        ("valid/a.png", "valid/a.txt", "val"),
        ("a.png", "a.txt", None),
        ("images/old/images/test/a.png", "images/old/labels/test/a.txt", "test"),
    ],
)
def test_yolo_layouts(tmp_path, image, text_file, split):
    picture(tmp_path / image)
    label(tmp_path / text_file)
    raw = read_yolo(tmp_path)
    assert [(f.file, f.split) for f in raw.fields] == [(image, split)]
    assert [(c.box, c.code) for c in raw.fields[0].cells] == [((15, 5, 25, 15), "1")]
    assert raw.annotations_without_image == raw.images_without_annotation == raw.issues == []


@pytest.mark.parametrize(
    "text",
    [
        "nc: 3\nnames: [BA, 'EO, x', \"LY\"]\n".replace("'EO, x'", "EO"),
        "names: ['BA', 'EO', 'LY']  # in order\nnc: 3\n",
        "names: [\n  BA,\n  EO,\n  LY\n]\n",
        "names:\n  - BA\n  - EO\n  - LY\nnc: 3\n",
        "names:\n- BA\n- EO\n- LY\n",
        "names:\n  0: BA\n  1: EO\n  2: LY\npath: .\n",
        "names: {0: BA, 1: EO, 2: LY}\r\n",
        "# names: [X]\nnames:\n\n  0: BA\n\n  1: 'EO'\n  2: LY\n",
    ],
)
def test_yolo_names_however_they_are_written(tmp_path, text):
    picture(tmp_path / "images/a.png")
    label(tmp_path / "labels/a.txt")
    (tmp_path / "data.yaml").write_text(text)
    assert read_yolo(tmp_path).fields[0].cells[0].code == "EO"


def test_yolo_names_from_classes_txt_which_is_no_label(tmp_path):
    picture(tmp_path / "a.png")
    label(tmp_path / "a.txt")
    (tmp_path / "classes.txt").write_text("BA\nEO\n")
    (tmp_path / "README.txt").write_text("1 set of 2 pictures")
    raw = read_yolo(tmp_path)
    assert raw.fields[0].cells[0].code == "EO"
    assert raw.annotations_without_image == []


def test_yolo_without_names_in_its_yaml(tmp_path):
    picture(tmp_path / "a.png")
    label(tmp_path / "a.txt")
    (tmp_path / "data.yaml").write_text("nc: 2\nnames:\n")
    with pytest.raises(DataError, match="has no names"):
        read_yolo(tmp_path)


def test_yolo_splits_as_lists(tmp_path):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"images/{name}.png")
        label(tmp_path / f"labels/{name}.txt")
    (tmp_path / "train.txt").write_text("./images/a.png\n")
    (tmp_path / "val.txt").write_text("D:\\set\\images\\b.png\n")
    assert [f.split for f in read_yolo(tmp_path).fields] == ["train", "val", None]


def test_yolo_outlines(tmp_path):
    picture(tmp_path / "a.png")
    label(tmp_path / "a.txt", "0 0.25 0.25 0.75 0.25 0.5 0.75\n")
    cell = read_yolo(tmp_path).fields[0].cells[0]
    assert cell.box == (10, 5, 30, 15)
    assert cell.contour == ((10, 5), (30, 5), (20, 15))


def test_yolo_lines_that_are_none(tmp_path):
    picture(tmp_path / "a.png")
    label(
        tmp_path / "a.txt", "0 0.5 0.5 0.1 0.1\nx 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n0 a b c d\n0 0.5 0.5 0.1 0.1 0.9\n\n"
    )
    raw = read_yolo(tmp_path)
    # A name stands for its class; a sixth number is the confidence of a model, which is judged later.
    assert [(c.code, c.predicted) for c in raw.fields[0].cells] == [("0", ""), ("x", ""), ("0", "confidence 0.9")]
    assert [i.detail.split(":")[0] for i in raw.issues] == [f"a.txt line {n}" for n in (3, 4)]


def voc(root, name, text):
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_voc_refuses_entities(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
    with pytest.raises(DataError, match="declares the XML entity 'x'"):
        parse_xml(voc(tmp_path, "bomb", bomb))
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    outside = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotation>&x;</annotation>'
    with pytest.raises(DataError, match="declares the XML entity"):
        parse_xml(voc(tmp_path, "outside", outside))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotation><object></annotation>", "a.xml is not well-formed XML .*line 1"),
        ("", "not well-formed"),
        ("<html></html>", "expected <annotation>, got <html>"),
    ],
)
def test_voc_malformed(tmp_path, text, says):
    picture(tmp_path / "JPEGImages/a.jpg")
    voc(tmp_path, "a", text)
    with pytest.raises(DataError, match=says):
        read_voc(tmp_path)


def test_voc_two_files_for_one_picture(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    voc(tmp_path, "a", annotation("a.jpg", [WHITE]))
    voc(tmp_path, "b", annotation("a.jpg", [WHITE]))
    with pytest.raises(DataError, match="both annotate"):
        read_voc(tmp_path)


def test_voc_one_picture_in_two_splits(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    voc(tmp_path, "a", annotation("a.jpg", [WHITE]))
    for split in ("train", "test"):
        listing = tmp_path / f"ImageSets/Main/{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("a  1\n")
    with pytest.raises(DataError, match="lists a, which is in (train|test) too"):
        read_voc(tmp_path)


def test_voc_notes_a_wrong_size_and_a_box_without_numbers(tmp_path):
    picture(tmp_path / "JPEGImages/a.jpg")
    voc(tmp_path, "a", annotation("a.jpg", [WHITE, ("RBC", "x", 1, 2, 3)], size=(99, 20)))
    raw = read_voc(tmp_path)
    assert [(i.action, i.reason) for i in raw.issues] == [("dropped", "box without four numbers")]
    assert (raw.fields[0].width, raw.fields[0].stated_size, len(raw.fields[0].cells)) == (40, (99, 20), 1)


def test_folders_leave_out_what_has_no_class(tmp_path):
    picture(tmp_path / "patient 7/lymphocyte/a.png")
    picture(tmp_path / "b.png")
    picture(tmp_path / "train/c.png")
    picture(tmp_path / ".thumbnails/d.png")
    raw = read_folders(tmp_path)
    assert [(f.file, f.cells[0].code) for f in raw.fields] == [("patient 7/lymphocyte/a.png", "lymphocyte")]
    assert raw.images_without_annotation == ["b.png", "train/c.png"]


def table(root, text, name="labels.csv"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


def test_csv_finds_the_usual_columns(tmp_path):
    picture(tmp_path / "a.png")
    table(tmp_path, "filename\txmin\tymin\txmax\tymax\tclass\tsplit\tpatient_id\na.png\t1\t2\t30\t12\tLY\tvalid\tP1\n")
    field = read_csv(tmp_path).fields[0]
    assert (field.cells[0].box, field.cells[0].code, field.split, field.patient_id) == (
        (1, 2, 30, 12),
        "LY",
        "val",
        "P1",
    )


def test_csv_without_boxes_is_one_cell_a_picture(tmp_path):
    picture(tmp_path / "a.png")
    table(tmp_path, "image,label\na.bmp,LY\n")  # saved again under another suffix
    assert read_csv(tmp_path).fields[0].cells[0].box == (0, 0, 40, 20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("image,label\n", "no rows"),
        ("image,label\na.png\n", "row 2 has 1 values: expected 2"),
        ("a,b\nc,d\n", "no column for image, label: it has a, b"),
        ("image,label,xmin,ymin\na.png,LY,1,2\n", "no column for x1, y1"),
        ("image,file,label\na.png,a.png,LY\n", "image could be column image or file"),
        ("image,label\nz.png,LY\n", "none of its 1 rows names a picture"),
        ("image,label,split\na.png,LY,holdout\n", "split must be one of"),
    ],
)
def test_csv_malformed(tmp_path, text, says):
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=says):
        read_csv(table(tmp_path, text))


def test_csv_names_what_was_stated_wrongly(tmp_path):
    picture(tmp_path / "a.png")
    table(tmp_path, "Picture,Type\na.png,LY\n")
    with pytest.raises(DataError, match="has no column Bild"):
        read_csv(tmp_path, columns={"image": "Bild", "label": "Type"})
    with pytest.raises(DataError, match="can't state picture"):
        read_csv(tmp_path, columns={"picture": "Picture"})
    with pytest.raises(DataError, match="coordinates must be pixels or relative"):
        read_csv(tmp_path, columns={"image": "Picture", "label": "Type"}, coordinates="percent")
    with pytest.raises(DataError, match="has no other.csv"):
        read_csv(tmp_path, table="other.csv")
    table(tmp_path, "x,y\n1,2\n", name="more.csv")
    with pytest.raises(DataError, match="expected one .csv file with the labels, got labels.csv, more.csv"):
        read_csv(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"Picture,Type\na.png,\xe9\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_csv(tmp_path, table="labels.csv")


def test_csv_mask_of_another_size(tmp_path):
    picture(tmp_path / "a.png")
    draw_mask(tmp_path / "masks/a.png", (20, 20), (10, 10, 5))
    raw = read_csv(table(tmp_path, "image,label\na,LY\n"), mask_name="masks/{}.png")
    assert [i.detail for i in raw.issues] == ["mask of 20x20 px, picture of 40x20"]


def test_a_name_that_could_be_two_pictures(tmp_path):
    picture(tmp_path / "x/a.png")
    picture(tmp_path / "y/a.png")
    index = ImageIndex(tmp_path)
    assert index.find("Y\\A.png") == "y/a.png"
    assert index.find("b.png") is None
    with pytest.raises(DataError, match="'a.png' could be any of x/a.png, y/a.png"):
        index.find("a.png")


def test_a_name_with_dots_is_no_other_pictures(tmp_path):
    picture(tmp_path / "a.png")
    assert ImageIndex(tmp_path).find("a.2") is None
    assert ImageIndex(tmp_path).find("a") == "a.png"


def test_image_size_is_as_seen(tmp_path):
    path = tmp_path / "turned.jpg"
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=turned)
    assert image_size(path) == (20, 40)


def test_quoted_values_keep_their_commas(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfimage,label\r\na.png,"NEUTROPHIL, EOSINOPHIL"\r\n\r\n')
    assert read_table(tmp_path / "t.csv") == [{"image": "a.png", "label": "NEUTROPHIL, EOSINOPHIL"}]

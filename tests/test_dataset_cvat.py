"""CVAT's XML: shapes, turned boxes, attributes; what is refused."""

from __future__ import annotations

import pytest
from data.small_texts import issues, picture, write

from leukoscope.dataset.cvat import read_cvat
from leukoscope.errors import DataError


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

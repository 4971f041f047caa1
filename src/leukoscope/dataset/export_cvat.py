"""Write a CVAT project: annotations.xml ("CVAT for images 1.1"), `images/`, and the labels to make the task with.

A tag "field" on each picture carries patient, smear, centre and the rest; each shape carries the source's code.
CVAT keeps both through its own import and export.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from leukoscope.dataset.export_yolo import field_values
from leukoscope.dataset.extras import EXACT_BOX, FIELD_LABEL, SOURCE_CODE, box_text
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.dataset.raw import UNTYPED, bounds
from leukoscope.errors import DataError
from leukoscope.files import write_json, write_whole

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FIELD_ATTRIBUTES = ("field_id", "smear_id", "patient_id", "center", "specimen", "um_per_px", "split")
_COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f")


def write_cvat(dataset: Dataset, out: Path, names: dict[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """annotations.xml and labels.json for pictures that stand in `out` already; what is kept beside.

    DataError for a text that XML can't hold.
    """
    further = sorted({name for f in dataset.fields for c in f.cells for name, _ in c.attributes})
    labels = [_label(name, (SOURCE_CODE, EXACT_BOX, *further), i) for i, name in enumerate(classes)]
    labels.append(_label(FIELD_LABEL, _FIELD_ATTRIBUTES, len(classes), kind="tag"))
    with write_whole(out / "annotations.xml", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        file.writelines(_meta(dataset, labels))
        for image_id, field in enumerate(dataset.fields):
            file.writelines(_image(image_id, field, names[field.file]))
        file.write("</annotations>\n")
    # CVAT's "raw" label editor takes this as it is: the labels must be there before the annotations are uploaded.
    write_json(out / "labels.json", labels)
    return (
        'patient, smear, centre, specimen, scale, split and field id: attributes of the tag "field" on each picture',
        "source codes: the attribute source_code of each shape",
        "labels.json: paste it into CVAT's raw label editor before uploading annotations.xml",
    )


def _label(name: str, attributes: Iterable[str], position: int, *, kind: str = "any") -> dict:
    entries = [
        {"name": a, "mutable": False, "input_type": "text", "default_value": "", "values": [""]} for a in attributes
    ]
    return {"name": name, "color": _COLORS[position % len(_COLORS)], "type": kind, "attributes": entries}


def _meta(dataset: Dataset, labels: list[dict]) -> Iterable[str]:
    yield "  <meta>\n    <task>\n"
    yield f"      <name>{xml_text(dataset.name)}</name>\n      <size>{len(dataset.fields)}</size>\n"
    yield "      <mode>annotation</mode>\n      <overlap>0</overlap>\n      <flipped>False</flipped>\n      <labels>\n"
    for label in labels:
        yield f"        <label>\n          <name>{xml_text(label['name'])}</name>\n"
        yield f"          <color>{label['color']}</color>\n          <type>{label['type']}</type>\n"
        yield "          <attributes>\n"
        for attribute in label["attributes"]:
            yield (
                f"            <attribute><name>{xml_text(attribute['name'])}</name><mutable>False</mutable>"
                "<input_type>text</input_type><default_value></default_value><values></values></attribute>\n"
            )
        yield "          </attributes>\n        </label>\n"
    yield "      </labels>\n    </task>\n  </meta>\n"


def _image(image_id: int, field: TruthField, name: str) -> Iterable[str]:
    # No subset here: CVAT writes one in projects only, and readers of a task pass over pictures that state one.
    yield f'  <image id="{image_id}" name="{xml_text(name)}" width="{field.width}" height="{field.height}">\n'
    for cell in field.cells:
        yield from _shape(cell)
    values = {key: value for key, value in field_values(field).items() if value}
    yield f'    <tag label="{FIELD_LABEL}" source="manual">\n'
    yield from _attributes(values.items())
    yield "    </tag>\n  </image>\n"


def _shape(cell: TruthCell) -> Iterable[str]:
    label = xml_text(UNTYPED if cell.class_name is None else cell.class_name)
    values = [(SOURCE_CODE, cell.source_code)]
    if cell.contour is None:
        x0, y0, x1, y1 = (f"{v:.3f}" for v in cell.box)
        where = f'xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"'
    else:
        where = 'points="' + ";".join(f"{x:.3f},{y:.3f}" for x, y in cell.contour) + '"'
        if bounds(cell.contour) != cell.box:
            values.append((EXACT_BOX, box_text(cell.box)))
    tag = "box" if cell.contour is None else "polygon"
    yield f'    <{tag} label="{label}" source="manual" occluded="0" {where} z_order="0">\n'
    yield from _attributes([*values, *cell.attributes])
    yield f"    </{tag}>\n"


def _attributes(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in pairs:
        yield f'      <attribute name="{xml_text(name)}">{xml_text(value)}</attribute>\n'


def xml_text(value: str) -> str:
    """Text for XML, in an element or an attribute, line ends and tabs kept; DataError for what XML can't hold."""
    if _NOT_XML.search(value):
        raise DataError(f"{value[:60]!r} holds a character that XML can't: correct it, or export as coco or yolo")
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        value = value.replace(character, entity)
    return value.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")

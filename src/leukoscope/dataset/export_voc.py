"""Write Pascal VOC: `Annotations/NAME.xml` beside `JPEGImages/NAME`, splits as lists in `ImageSets/Main`."""

from collections.abc import Iterable
from os.path import splitext
from pathlib import Path

from leukoscope.dataset.export_cvat import xml_text
from leukoscope.dataset.export_yolo import field_values
from leukoscope.dataset.extras import FIELD_LABEL, SOURCE_CODE
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.dataset.raw import UNTYPED
from leukoscope.files import write_text


def write_voc(dataset: Dataset, out: Path, names: dict[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The XML files and the lists for pictures that stand in `out` already; what is kept beside.

    DataError for a text that XML can't hold.
    """
    lists: dict[str, list[str]] = {}
    for field in dataset.fields:
        stem = splitext(names[field.file])[0]
        path = out / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(_annotation(field, names[field.file])), sync=False)
        if field.split:
            lists.setdefault(field.split, []).append(stem)
    for split, stems in lists.items():
        listing = out / "ImageSets" / "Main" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        write_text(listing, "".join(f"{stem}\n" for stem in stems))
    return (
        f"patient, smear, centre, specimen, scale, split and field id: the element {FIELD_LABEL} of each file",
        "source codes and attributes: CVAT's element attributes of each object; outlines: the element polygon",
    )


def _annotation(field: TruthField, name: str) -> Iterable[str]:
    yield f"<annotation>\n  <filename>{xml_text(name)}</filename>\n"
    yield f"  <size><width>{field.width}</width><height>{field.height}</height><depth>3</depth></size>\n"
    values = {key: value for key, value in field_values(field).items() if value}
    yield f"  <{FIELD_LABEL} " + " ".join(f'{k}="{xml_text(v)}"' for k, v in values.items()) + "/>\n"
    for cell in field.cells:
        yield from _object(cell)
    yield "</annotation>\n"


def _object(cell: TruthCell) -> Iterable[str]:
    yield f"  <object>\n    <name>{xml_text(UNTYPED if cell.class_name is None else cell.class_name)}</name>\n"
    corners = zip(("xmin", "ymin", "xmax", "ymax"), cell.box, strict=True)
    yield "    <bndbox>" + "".join(f"<{k}>{v:.12g}</{k}>" for k, v in corners) + "</bndbox>\n"
    if cell.contour is not None:
        points = enumerate(cell.contour, 1)
        yield "    <polygon>" + "".join(f"<x{n}>{x:.12g}</x{n}><y{n}>{y:.12g}</y{n}>" for n, (x, y) in points)
        yield "</polygon>\n"
    yield "    <attributes>\n"
    for name, value in ((SOURCE_CODE, cell.source_code), *cell.attributes):
        yield f"      <attribute><name>{xml_text(name)}</name><value>{xml_text(value)}</value></attribute>\n"
    yield "    </attributes>\n  </object>\n"

"""Write COCO: `annotations/instances_<split>.json` beside `images/<split>`, one category list for all splits."""

from pathlib import Path

import numpy as np

from leukoscope.dataset.export_yolo import field_values
from leukoscope.dataset.extras import EXACT_BOX, SOURCE_CODE, box_text
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.dataset.raw import NEITHER_SPLIT, UNTYPED
from leukoscope.files import write_json
from leukoscope.geometry import contour_area


def write_coco(dataset: Dataset, out: Path, names: dict[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The JSON files for pictures that stand in `out` already; what is kept beside."""
    numbers = {name: i for i, name in enumerate(classes, 1)}
    by_split: dict[str, list[TruthField]] = {}
    for field in dataset.fields:
        by_split.setdefault(field.split or NEITHER_SPLIT, []).append(field)
    folder = out / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    for split, fields in by_split.items() or {NEITHER_SPLIT: []}.items():
        images, annotations = [], []
        for image_id, field in enumerate(fields, 1):
            images.append(_image(image_id, field, names[field.file]))
            for cell in field.cells:
                annotations.append(_annotation(len(annotations) + 1, image_id, cell, numbers))
        content = {
            "info": {"description": dataset.name, "version": "1.0", "contributor": dataset.citation},
            "licenses": [{"id": 1, "name": dataset.licence, "url": ""}],
            "categories": [{"id": i, "name": name, "supercategory": ""} for name, i in numbers.items()],
            "images": images,
            "annotations": annotations,
        }
        write_json(folder / f"instances_{split}.json", content, indent=None)
    return (
        "patient, smear, centre, specimen, scale and field id: further keys of each image",
        "source codes: the key source_code of each annotation; a reader of COCO passes over them",
    )


def _image(image_id: int, field: TruthField, name: str) -> dict:
    known = {key: value for key, value in field_values(field).items() if value}
    return {"id": image_id, "file_name": name, "width": field.width, "height": field.height, "license": 1, **known}


def _annotation(annotation_id: int, image_id: int, cell: TruthCell, numbers: dict[str, int]) -> dict:
    x0, y0, x1, y1 = cell.box
    bbox = [x0, y0, round(x1 - x0, 6), round(y1 - y0, 6)]
    entry = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": numbers[UNTYPED if cell.class_name is None else cell.class_name],
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3], 6),
        "iscrowd": 0,
        "segmentation": [],
        SOURCE_CODE: cell.source_code,
    }
    if cell.contour is not None:
        entry["segmentation"] = [[value for point in cell.contour for value in point]]
        entry["area"] = round(contour_area(np.array(cell.contour)), 6)
    attributes = dict(cell.attributes)
    if (round(x0 + bbox[2], 3), round(y0 + bbox[3], 3)) != (x1, y1):
        attributes[EXACT_BOX] = box_text(cell.box)
    if attributes:
        entry["attributes"] = attributes
    return entry

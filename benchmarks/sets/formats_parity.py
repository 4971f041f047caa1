"""Our exports of a data set, read by somebody else's readers: the same pictures, classes, boxes and outlines?

    python -m benchmarks.sets.formats_parity DATASET_DIR [DATASET_DIR ...]

Needs datumaro and pycocotools, which are heavy: `pip install datumaro pycocotools` into an environment of its own.
CVAT XML, COCO and YOLO are read by datumaro, COCO by pycocotools too. Boxes are compared as multisets of (picture,
class, corners to 0.01 px); an outline by its bounds, as a reader of polygons gives no box of its own.
Exit code 1 when any differs.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.dataset.export_pictures import picture_names
from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.dataset.raw import bounds

TOLERANCE_PX = 0.0101  # datumaro keeps two decimals


def ours(dataset: Dataset) -> Counter:
    """Multiset of (picture's stem, class, corners in px)."""
    names = picture_names(dataset)
    return Counter(
        (
            Path(names[f.file]).with_suffix("").as_posix(),
            str(c.class_name),
            _corners(bounds(c.contour) if c.contour else c.box),
        )
        for f in dataset.fields
        for c in f.cells
    )


def _corners(box: tuple) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in box)


def unmatched(truth: Counter, found: Counter) -> tuple[list, list]:
    """(missing, extra): those without a partner of the same picture and class within TOLERANCE_PX at each corner."""
    places: dict[tuple, list] = {}
    for image, name, corners in found.elements():
        places.setdefault((image, name), []).append(corners)
    missing = []
    for image, name, corners in truth.elements():
        near = (
            other
            for other in places.get((image, name), [])
            if all(abs(a - b) <= TOLERANCE_PX for a, b in zip(corners, other, strict=True))
        )
        partner = next(near, None)
        if partner is None:
            missing.append((image, name, corners))
        else:
            places[image, name].remove(partner)
    return missing, [(*key, corners) for key, left in places.items() for corners in left]


def by_datumaro(folder: Path, kind: str) -> tuple[Counter, int]:
    """(the same multiset, pictures) as datumaro reads a folder."""
    from datumaro import Dataset as Theirs
    from datumaro.components.annotation import AnnotationType

    read = Theirs.import_from(str(folder), kind)
    labels = read.categories()[AnnotationType.label]
    found: Counter = Counter()
    n_pictures = 0
    for item in read:
        n_pictures += 1
        outlined = {a.id for a in item.annotations if a.type == AnnotationType.polygon}
        for annotation in item.annotations:
            # A COCO object with an outline comes twice: as its polygon and as the box around it.
            box_too = annotation.type == AnnotationType.bbox and kind == "coco_instances" and annotation.id in outlined
            if annotation.type == AnnotationType.label or box_too:
                continue
            x, y, w, h = annotation.get_bbox()
            found[item.id, labels[annotation.label].name, _corners((x, y, x + w, y + h))] += 1
    return found, n_pictures


def by_pycocotools(folder: Path) -> tuple[Counter, int]:
    """The same as pycocotools reads the COCO files."""
    from pycocotools.coco import COCO

    found: Counter = Counter()
    n_pictures = 0
    for file in sorted((folder / "annotations").glob("*.json")):
        coco = COCO(str(file))
        n_pictures += len(coco.imgs)
        for annotation in coco.loadAnns(coco.getAnnIds()):
            image = Path(coco.imgs[annotation["image_id"]]["file_name"]).with_suffix("").as_posix()
            if annotation["segmentation"]:
                xs, ys = annotation["segmentation"][0][::2], annotation["segmentation"][0][1::2]
                box = (min(xs), min(ys), max(xs), max(ys))
            else:
                x, y, w, h = annotation["bbox"]
                box = (x, y, x + w, y + h)
            found[image, coco.cats[annotation["category_id"]]["name"], _corners(box)] += 1
    return found, n_pictures


READERS = (
    ("cvat", "datumaro", lambda folder: by_datumaro(folder, "cvat")),
    ("coco", "datumaro", lambda folder: by_datumaro(folder, "coco_instances")),
    ("coco", "pycocotools", by_pycocotools),
    ("yolo", "datumaro", lambda folder: by_datumaro(folder, "yolo")),
)


def main(args: Args) -> Rows:
    for directory in args.datasets:
        dataset = read_dataset(directory)
        truth = ours(dataset)
        outlines = any(c.contour for f in dataset.fields for c in f.cells)
        for format, reader, read in READERS:
            if format == "yolo" and outlines:
                print(f"{dataset.name}: datumaro reads no outlines in YOLO: compared on sets of boxes only")
                continue
            with tempfile.TemporaryDirectory() as folder:
                export_dataset(format, directory, Path(folder) / "out")
                found, n_pictures = read(Path(folder) / "out")
            missing, extra = unmatched(truth, found)
            same = not missing and not extra and n_pictures == len(dataset.fields)
            row = {"set": dataset.name, "format": format, "reader": f"{reader} {version(reader)}"}
            row |= {"n_fields": len(dataset.fields), "n_fields_read": n_pictures, "n_cells": truth.total()}
            row |= {"missing": len(missing), "extra": len(extra), "agrees": "yes" if same else "no"}
            row |= {"value": len(missing) + len(extra), "threshold": "<= 0"}
            yield row
            if not same:
                print("  first missing:", missing[:1], "first extra:", extra[:1])


if __name__ == "__main__":
    benchmark(main, option("datasets", nargs="+", type=Path))

"""Import of 200,000 cells against merely reading the same files, alone and with 100,000 pictures that are absent.

    python -m benchmarks.sets.import_speed [--part 1] [--formats yolo,coco,cvat,voc,geojson] [--repeats 3]

"Merely reading" is what any import of these files must do and nothing else: open each file, read it, SHA-256 of each
picture (a manifest names pictures by digest, so hashing is reading), and the picture's size from its header. The
time is the processor's, so that other work on the machine does not count; nothing here waits for the disk. The
pictures are fabricated JPEGs of PCM's 1920 x 1080 px, each file with bytes of its own: 19,191 of them, as PCM has, ten
boxes on each. Then annotations of absent pictures are added, two boxes each, and both sides run again. Both run on a
warm cache, in turn; the medians are compared. `--part 4` makes a quarter of everything. Exit code 1 when an import
takes over twice the reading.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.types import FieldKey

SIZE = (1920, 1080)  # the photographs of PCM-Leukemia, its section 2.2
CLASSES = ("neutrophil", "lymphocyte", "monocyte", "myeloblast", "lymphoblast", "other")
FORMATS = ("yolo", "coco", "cvat", "voc", "geojson")
N_FIELDS, N_CELLS, N_ABSENT = 19191, 200000, 100000


def fabricate(root: Path, n_fields: int, n_cells: int, seed: int) -> Dataset:
    """Pictures under `root` and a data set of them: `n_cells` boxes spread over `n_fields` pictures."""
    rng = np.random.default_rng(seed)
    kinds = []
    for _ in range(16):
        small = rng.integers(60, 250, (135, 240, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
        kinds.append(out.getvalue())
    owners = np.sort(rng.integers(0, n_fields, n_cells))
    starts = np.searchsorted(owners, np.arange(n_fields + 1))
    corners, sides = rng.uniform(0, 380, (n_cells, 2)).round(2), rng.uniform(20, 90, (n_cells, 2)).round(2)
    names = rng.integers(0, len(CLASSES), n_cells)
    fields = []
    (root / "pictures").mkdir(parents=True)
    for i in range(n_fields):
        data = kinds[i % len(kinds)] + i.to_bytes(4, "big")  # bytes behind a JPEG's end change its digest only
        file = f"pictures/P{i % 97:02d}_{i:06d}.jpg"
        (root / file).write_bytes(data)
        cells = tuple(
            TruthCell(
                (*corners[k].tolist(), *(corners[k] + sides[k]).round(2).tolist()), CLASSES[names[k]], CLASSES[names[k]]
            )
            for k in range(starts[i], starts[i + 1])
        )
        key = FieldKey(file, "", f"P{i % 97:02d}", "", "blood")
        split = ("train", "val", "test")[i % 3]
        fields.append(TruthField(key, file, hashlib.sha256(data).hexdigest(), *SIZE, cells, None, split))
    return Dataset("fabricated", root, tuple(fields), "CC0", "fabricated", "fabricated")


def add_absent(format: str, folder: Path, n: int) -> None:
    """Annotations of `n` pictures that are not there, two boxes each, into an export of ours."""
    names = [f"absent_{i:06d}" for i in range(n)]
    if format == "yolo":
        line = "0 0.5 0.5 0.1 0.1\n0 0.2 0.2 0.1 0.1\n"
        for name in names:
            (folder / f"labels/train/{name}.txt").write_text(line, "utf-8")
    elif format == "voc":
        box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>90</xmax><ymax>90</ymax></bndbox>"
        thing = f"<object><name>lymphocyte</name>{box}</object>"
        for name in names:
            text = f"<annotation><filename>{name}.jpg</filename>{thing}{thing}</annotation>"
            (folder / f"Annotations/{name}.xml").write_text(text, "utf-8")
    elif format == "cvat":
        box = '<box label="lymphocyte" xtl="10" ytl="10" xbr="90" ybr="90"/>'
        images = "".join(
            f'<image id="{10**6 + i}" name="{name}.jpg" width="1920" height="1080">{box}{box}</image>'
            for i, name in enumerate(names)
        )
        path = folder / "annotations.xml"
        path.write_text(path.read_text("utf-8").replace("</annotations>", images + "</annotations>"), "utf-8")
    elif format == "coco":
        path = folder / "annotations/instances_train.json"
        content = json.loads(path.read_text("utf-8"))
        for i, name in enumerate(names, 10**6):
            content["images"].append({"id": i, "file_name": f"{name}.jpg", "width": 1920, "height": 1080})
            box = {"image_id": i, "category_id": 1, "bbox": [10, 10, 80, 80]}
            content["annotations"] += [{"id": 2 * i, **box}, {"id": 2 * i + 1, **box}]
        path.write_text(json.dumps(content), "utf-8")
    else:
        ring = [[10, 10], [90, 10], [90, 90], [10, 10]]
        feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
        text = json.dumps({"type": "FeatureCollection", "features": [feature, feature]})
        for name in names:
            (folder / f"geojson/train/{name}.geojson").write_text(text, "utf-8")


def read_files(folder: Path) -> tuple[int, int]:
    """Open and read every file; digest and header of the pictures. (files, bytes)."""
    n_files = n_bytes = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(here, name), "rb") as file:
                data = file.read()
            n_files, n_bytes = n_files + 1, n_bytes + len(data)
            if name.endswith(".jpg"):
                hashlib.sha256(data).hexdigest()
                with Image.open(io.BytesIO(data)) as picture:
                    picture.size, picture.getexif().get(0x0112)  # noqa: B018
    return n_files, n_bytes


def measure(format: str, folder: Path, out: Path, repeats: int) -> dict:
    """Processor seconds of both, in turn, and their ratio."""
    reading, importing, report = [], [], None
    read_files(folder)  # warm
    for _ in range(repeats):
        start = time.process_time()
        n_files, n_bytes = read_files(folder)
        reading.append(time.process_time() - start)
        start = time.process_time()
        report = import_dataset(format, folder, out, replace_set=True)
        importing.append(time.process_time() - start)
    ratio = statistics.median(importing) / statistics.median(reading)
    return {
        "format": format,
        "value": round(ratio, 3),
        "measure": "import time over merely reading",
        "threshold": "<= 2",
        "met": "yes" if ratio <= 2 else "no",
        "read_s": round(statistics.median(reading), 2),
        "import_s": round(statistics.median(importing), 2),
        "n_fields": report.n_fields,
        "n_cells": report.n_cells,
        "n_absent": len(report.annotations_without_image),
        "n_files": n_files,
        "megabytes": round(n_bytes / 1e6, 1),
        "repeats": repeats,
    }


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = fabricate(root / "source", N_FIELDS // args.part, N_CELLS // args.part, args.seed)
        write_dataset(dataset, root / "set")
        for format in args.formats.split(","):
            place = root / format
            export_dataset(format, root / "set", place)
            for n_absent in (0, N_ABSENT // args.part):
                add_absent(format, place, n_absent)
                yield measure(format, place, root / "out", args.repeats)
            shutil.rmtree(place)
    return {"seed": args.seed, "part": args.part}


if __name__ == "__main__":
    benchmark(
        main, option("--part", type=int, default=1, help="make one part of so many: 4 for a quarter"),
        option("--formats", default=",".join(FORMATS)), option("--repeats", type=int, default=3),
        option("--seed", type=int, default=1),
    )  # fmt: skip

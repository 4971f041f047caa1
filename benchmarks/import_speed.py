"""Import of 40,000 cells (PCM's size) against merely reading the same files, in one run, one format after another.

    python benchmarks/import_speed.py [--fields 19191] [--cells 40000] [--formats yolo,coco,cvat,voc] [--repeats 3]

"Merely reading" is what any import of these files must do and nothing else: open each file, read it, SHA-256 of each
picture (a manifest names pictures by digest, so hashing is reading), and the picture's size from its header. The
pictures are fabricated JPEGs of PCM's 1920 x 1080 px, each file with bytes of its own. Both sides run on a warm cache,
in turn; the medians are compared. Exit code 1 when an import takes over twice the reading.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from PIL import Image  # noqa: E402

from benchmarks.provenance import write_results  # noqa: E402
from leukoscope.dataset.exporter import export_dataset  # noqa: E402
from leukoscope.dataset.importer import import_dataset  # noqa: E402
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset  # noqa: E402
from leukoscope.types import FieldKey  # noqa: E402

SIZE = (1920, 1080)  # the photographs of PCM-Leukemia, its section 2.2
CLASSES = ("neutrophil", "lymphocyte", "monocyte", "myeloblast", "lymphoblast", "other")
FORMATS = ("yolo", "coco", "cvat", "voc")


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


def write_voc(dataset: Dataset, out: Path) -> None:
    """The data set as VOC, which Leukoscope reads and does not write."""
    (out / "Annotations").mkdir(parents=True)
    (out / "JPEGImages").mkdir()
    for field in dataset.fields:
        name = Path(field.file).name
        os.link(dataset.path(field), out / "JPEGImages" / name)
        objects = "".join(
            f"<object><name>{c.class_name}</name><bndbox><xmin>{c.box[0]}</xmin><ymin>{c.box[1]}</ymin>"
            f"<xmax>{c.box[2]}</xmax><ymax>{c.box[3]}</ymax></bndbox></object>\n"
            for c in field.cells
        )
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
        text = f"<annotation>\n<filename>{name}</filename>\n{size}\n{objects}</annotation>\n"
        (out / "Annotations" / f"{Path(name).stem}.xml").write_text(text, "utf-8")


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
    """Seconds of both, in turn, and their ratio."""
    reading, importing, report = [], [], None
    read_files(folder)  # warm
    for _ in range(repeats):
        start = time.perf_counter()
        n_files, n_bytes = read_files(folder)
        reading.append(time.perf_counter() - start)
        start = time.perf_counter()
        report = import_dataset(format, folder, out, replace_set=True)
        importing.append(time.perf_counter() - start)
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
        "n_files": n_files,
        "megabytes": round(n_bytes / 1e6, 1),
        "repeats": repeats,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=19191)
    parser.add_argument("--cells", type=int, default=40000)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print only, write no results")
    args = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = fabricate(root / "source", args.fields, args.cells, args.seed)
        write_dataset(dataset, root / "set")
        for format in args.formats.split(","):
            place = root / format
            if format == "voc":
                write_voc(dataset, place)
            else:
                export_dataset(format, root / "set", place)
            rows.append(measure(format, place, root / "out", args.repeats))
            print(json.dumps(rows[-1]), flush=True)
            shutil.rmtree(place)
    if not args.dry:
        write_results("import_speed", rows, seed=args.seed)
    return 0 if all(row["met"] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Annotation files that are almost right: read where that is certain, else left out and said; never a silent loss.

Pictures and texts with one fault each that tools and people make in public (docs/decisions/0025), and an import that
accounts for every object.
"""

from __future__ import annotations

import json

from PIL import Image

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset


def picture(path, size=(200, 100), *, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    # Each picture its own colour: two alike would be one field.
    colour = tuple(sum(map(ord, path.name)) * k % 200 for k in (3, 5, 7))
    Image.new("RGB", size, colour).save(path, exif=exif)
    return path


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def take(format, root, **options):
    """(report, {picture: [(class, box), …]}) of an import; every object is accounted for."""
    report = import_dataset(format, root, root / "out", **options)
    assert report.n_objects == report.n_cells + report.n_dropped
    fields = read_dataset(root / "out").fields
    return report, {f.file: [(c.class_name, [round(v, 2) for v in c.box]) for c in f.cells] for f in fields}


def take_one(format, root, file, content, **options):
    """`take` of one file beside the picture a.png."""
    picture(root / "a.png")
    put(root / file, content)
    return take(format, root, **options)


def reasons(report):
    return [i.reason for i in report.issues]


def attributes_of(root):
    return [dict(c.attributes) for f in read_dataset(root / "out").fields for c in f.cells]

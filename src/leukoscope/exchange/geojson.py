"""GeoJSON as QuPath reads it: a file a photograph, a detection a cell. A million cells pass by, none stays."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leukoscope.dataset.extras import EXACT_BOX, box_text
from leukoscope.dataset.geojson import BOX_SHAPE, FIELD_KEY, SHAPE_KEY
from leukoscope.dataset.raw import bounds
from leukoscope.dataset.shapes import corners_of
from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.source import ExportCell, Photograph, Source
from leukoscope.exchange.text import one_line
from leukoscope.files import write_whole
from leukoscope.report.colors import class_colors

_COUNTS = "counts"  # measurement: 1, or 0 for a cell that the patient's numbers don't hold


def write_geojson(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write NAME.geojson (or .geojson.gz) for every photograph that could be read; each appears whole or not at all."""
    colors = dict(zip(source.taxonomy.names, map(_rgb, class_colors(source.taxonomy.names)), strict=True))
    for photograph, cells in source.photographs():
        if photograph.status == "failed":
            continue
        name = names.of_file(photograph.file, "photograph") + (".geojson.gz" if wishes.gzip else ".geojson")
        n = 0
        with write_whole(out / name, "wb") as file, _text(file, zipped=wishes.gzip) as text:
            text.write('{"type": "FeatureCollection", ' + f'"{FIELD_KEY}": {_dump(_said(photograph))}, "features": [')
            for n, cell in enumerate(cells, 1):
                text.write((",\n" if n > 1 else "\n") + _dump(feature(cell, colors)))
            text.write("\n]}\n")
        yield Written(name, (photograph.patient_id,), photograph.file, n)


def feature(cell: ExportCell, colors: dict[str, tuple[int, int, int]]) -> dict:
    """One cell. A cell whose nucleus was outlined is QuPath's "cell", any other its "detection"; one that was not
    identified has no classification."""
    ring = cell.contour or [list(corner) for corner in corners_of(cell.box)]
    said = dict(cell.words)
    if not cell.contour:
        said[SHAPE_KEY] = BOX_SHAPE
    elif bounds(cell.contour) != cell.box:
        said[EXACT_BOX] = box_text(cell.box)
    properties: dict = {"objectType": "cell" if cell.contour and cell.nuclei else "detection"}
    if cell.class_name is not None:
        properties["classification"] = {"name": one_line(cell.class_name)}
        if cell.class_name in colors:
            properties["classification"]["color"] = colors[cell.class_name]
    properties["measurements"] = dict(cell.numbers) | {_COUNTS: int(cell.counts)}
    if said:
        properties["metadata"] = {key: one_line(value) for key, value in said.items()}
    found = {"type": "Feature", "geometry": _polygon(ring), "properties": properties}
    return found | ({"nucleusGeometry": _polygon(cell.nuclei[0])} if properties["objectType"] == "cell" else {})


def _said(photograph: Photograph) -> dict:
    """What `leukoscope dataset import geojson` reads again; QuPath leaves it alone."""
    keys = ("patient_id", "smear_id", "center", "specimen", "um_per_px")
    return {key: value for key in keys if (value := getattr(photograph, key)) not in (None, "")}


def _polygon(ring: list) -> dict:
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _rgb(color: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(color.removeprefix("#")))


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)  # a surrogate stays what it is, and needs no encoding


@contextmanager
def _text(file: IO[bytes], *, zipped: bool) -> Iterator[IO[str]]:
    """Text over the file; zipped without a name or a time, so that the same cells give the same bytes."""
    raw = gzip.GzipFile("", "wb", 6, file, mtime=0) if zipped else file
    text = io.TextIOWrapper(io.BufferedWriter(raw, 1 << 18) if zipped else raw, encoding="ascii", newline="\n")
    try:
        yield text
        text.flush()
        text.detach()
    finally:
        if zipped:
            raw.close()

"""GeoJSON as QuPath reads it: a file a photograph or slide, a detection a cell. A million cells pass by, none stays."""

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, groupby
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
    """Write NAME.geojson (or .geojson.gz) for every photograph that could be read, and one for all regions of a slide;
    each appears whole or not at all."""
    colors = dict(zip(source.taxonomy.names, map(_rgb, class_colors(source.taxonomy.names)), strict=True))
    read = ((p, cells) for p, cells in source.photographs() if p.status != "failed")
    for _, fields in groupby(read, key=lambda one: _picture(one[0])):
        first, cells = next(fields)
        name = names.of_file(first.file, "photograph") + (".geojson.gz" if wishes.gzip else ".geojson")
        n = 0
        with write_whole(out / name, "wb") as file, _text(file, zipped=wishes.gzip) as text:
            text.write('{"type": "FeatureCollection", ' + f'"{FIELD_KEY}": {_dump(_said(first))}, "features": [')
            for cell in _placed(chain([(first, cells)], fields)):
                text.write((",\n" if n else "\n") + _dump(feature(cell, colors)))
                n += 1
            text.write("\n]}\n")
        yield Written(name, (first.patient_id,), first.file, n)


def _picture(photograph: Photograph) -> tuple[str, int]:
    """What QuPath opens as one picture: a photograph or page, or the whole slide of a region."""
    return photograph.file, -1 if photograph.region else photograph.place


def _placed(fields: Iterable[tuple[Photograph, Iterable[ExportCell]]]) -> Iterator[ExportCell]:
    """The cells of one picture in its px. Regions of a slide overlap: what another one counts is there already."""
    for photograph, cells in fields:
        if photograph.region is None:
            yield from cells
        else:
            yield from (_moved(cell, *photograph.region[:2]) for cell in cells if cell.counts)


def _moved(cell: ExportCell, x: float, y: float) -> ExportCell:
    shift = (x, y, x, y)
    return replace(
        cell,
        box=tuple(v + d for v, d in zip(cell.box, shift, strict=True)),
        contour=cell.contour and [[px + x, py + y] for px, py in cell.contour],
        nuclei=tuple([[px + x, py + y] for px, py in nucleus] for nucleus in cell.nuclei),
    )


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
    entry = {"type": "Feature", "geometry": _polygon(ring), "properties": properties}
    return entry | ({"nucleusGeometry": _polygon(cell.nuclei[0])} if properties["objectType"] == "cell" else {})


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

"""QuPath's GeoJSON: one file a picture, named after it; every feature an object with a classification.

Annotations are what people drew. Detections and cells are what an algorithm found: predictions, whatever their class.
"""

from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.extras import SOURCE_CODE, field_extras, with_attributes
from leukoscope.dataset.intake import Intake, Seat
from leukoscope.dataset.raw import UNTYPED, RawCell, RawSet, bounds, number
from leukoscope.dataset.shapes import largest, polygon
from leukoscope.dataset.text import read_json_files
from leukoscope.errors import DataError

FIELD_KEY = "leukoscope"  # of a collection that an export of ours wrote: patient, smear and the rest
SHAPE_KEY, BOX_SHAPE = "leukoscope_shape", "box"  # in a feature's metadata: the rectangle is a box, no outline
_IGNORED = "*"  # QuPath's own rule: Region* and Ignore* are no classes of objects, nor is any name that ends so
_PREDICTED = ("detection", "cell", "tile")


def read_geojson(src: str | Path) -> RawSet:
    """Read a folder of pictures and GeoJSON files; DataError where there is none."""
    intake = Intake(src)
    raw = intake.raw
    n_files = 0
    for file, content in read_json_files(raw.root, suffixes=(".geojson", ".json", ".geojson.gz")):
        features = _features(content)
        if features is None:
            raw.note(file, "not read: no GeoJSON of features", "expected a FeatureCollection or a list of features")
            continue
        n_files += 1
        _read_file(file, features, content, intake)
    if not n_files:
        raise DataError(
            f"{raw.root} is not a set of GeoJSON files: expected NAME.geojson beside each picture, as QuPath exports "
            f"objects; got none; check the path and the format"
        )
    return intake.finish()


def _features(content: object) -> list | None:
    """The features of a collection, of a list, or one alone; None for another file."""
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        return content["features"] if isinstance(content.get("features"), list) else None
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    is_list = isinstance(content, list) and all(isinstance(f, dict) and f.get("type") == "Feature" for f in content)
    return content if is_list else None


def _read_file(file: str, features: list, content: object, intake: Intake) -> None:
    raw = intake.raw
    raw.n_objects += len(features)
    picture = intake.beside(file.removesuffix(".gz"), "")
    seat = intake.seat(file, file, len(features), known=picture)
    if seat is None:
        return
    cells = [_read_feature(f, f"{file} feature {n}", seat, raw) for n, f in enumerate(features)]
    kept = content.get(FIELD_KEY) if isinstance(content, dict) else None
    intake.take(seat, cells, extras=field_extras(kept, file) if isinstance(kept, dict) else None)


def _read_feature(feature: object, where: str, seat: Seat, raw: RawSet) -> RawCell | None:
    """One feature in px, or None where it outlines no cell or can't be read: listed then."""
    geometry, said = _dict(feature, "geometry"), _dict(feature, "properties")
    kind = str(geometry.get("type"))
    classification = said.get("classification")
    names = classification.get("names") if isinstance(classification, dict) else None
    stated = classification if isinstance(classification, str) else _dict(said, "classification").get("name")
    name = ": ".join(map(str, names)) if isinstance(names, list) else stated
    code = str(name).strip() if name else UNTYPED
    if code.endswith(_IGNORED):
        raw.drop(seat.file, f"an object of class {code[:30]} marks a region, not a cell", where)
        return None
    if kind not in ("Polygon", "MultiPolygon"):
        raw.drop(seat.file, f"a {kind[:30]} is no outline of a cell", where)
        return None
    try:
        rings = _rings(geometry.get("coordinates"), kind)
        contour = largest([polygon(ring, code).contour for ring, _ in rings])
    except ValueError as error:
        raw.drop(seat.file, "polygon that can't be read", f"{where}, {code[:60]}: {str(error)[:80]}")
        return None
    cell = RawCell(bounds(contour), code, contour)
    if len(rings) > 1:
        raw.note(seat.file, "outline in several parts: the largest kept", f"{where}: {len(rings)} parts", 1)
    if any(holes for _, holes in rings):
        raw.note(seat.file, "outline leaves out parts or holes of the mask", where, 1)
    attributes = {str(k): str(v) for k, v in _dict(said, "metadata").items()}
    attributes |= {"name": str(said["name"])} if said.get("name") else {}
    if attributes.pop(SHAPE_KEY, "") == BOX_SHAPE:
        cell = replace(cell, contour=None)
    is_model = str(said.get("objectType") or said.get("object_type")).lower() in _PREDICTED
    predicted = (
        f"a {said.get('objectType') or said.get('object_type')}" if is_model and SOURCE_CODE not in attributes else ""
    )
    return with_attributes(replace(cell, predicted=predicted), attributes)


def _dict(value: object, key: str) -> dict:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _rings(coordinates: object, kind: str) -> list[tuple[list, bool]]:
    """(outer ring without its closing point, whether it has holes) of each polygon."""
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons or not all(isinstance(p, list) and p for p in polygons):
        raise ValueError("expected rings of points")
    read = []
    for parts in polygons:
        ring = parts[0] if isinstance(parts[0], list) else []
        points = [[number(v) for v in p[:2]] if isinstance(p, list) else [] for p in ring]
        read.append((points[:-1] if len(points) > 1 and points[0] == points[-1] else points, len(parts) > 1))
    return read

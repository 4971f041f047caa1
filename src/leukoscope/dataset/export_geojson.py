"""Write QuPath's GeoJSON: `geojson/<split>/NAME.geojson` for each picture, a feature for each cell."""

from pathlib import Path

from leukoscope.dataset.export_yolo import field_values
from leukoscope.dataset.extras import EXACT_BOX, SOURCE_CODE, box_text
from leukoscope.dataset.geojson import BOX_SHAPE, FIELD_KEY, SHAPE_KEY
from leukoscope.dataset.manifest import Dataset, TruthCell
from leukoscope.dataset.raw import NEITHER_SPLIT, UNTYPED, bounds
from leukoscope.dataset.shapes import corners_of
from leukoscope.files import write_json


def write_geojson(dataset: Dataset, out: Path, names: dict[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The GeoJSON files for pictures that stand in `out` already; what is kept beside."""
    for field in dataset.fields:
        content = {
            "type": "FeatureCollection",
            "features": [_feature(cell) for cell in field.cells],
            FIELD_KEY: {key: value for key, value in field_values(field).items() if value},
        }
        path = out / "geojson" / (field.split or NEITHER_SPLIT) / f"{names[field.file]}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content, indent=None, sync=False)
    return (
        f"patient, smear, centre, specimen, scale and field id: the key {FIELD_KEY} of each file, unused by QuPath",
        "source codes and attributes: the metadata of each object",
        f"boxes: rectangles whose metadata says {SHAPE_KEY}: {BOX_SHAPE}",
    )


def _feature(cell: TruthCell) -> dict:
    said = {SOURCE_CODE: cell.source_code, **dict(cell.attributes)}
    if cell.contour is None:
        said[SHAPE_KEY] = BOX_SHAPE
    elif bounds(cell.contour) != cell.box:
        said[EXACT_BOX] = box_text(cell.box)
    ring = [list(p) for p in (corners_of(cell.box) if cell.contour is None else cell.contour)]
    name = UNTYPED if cell.class_name is None else cell.class_name
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"objectType": "annotation", "classification": {"name": name}, "metadata": said},
    }

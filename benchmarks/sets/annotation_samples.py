"""Small sets in the formats of annotation tools, and how many objects a file of each holds by another count.

For `mutated_annotations.py`: two pictures of 40 x 30 px, `a` annotated with a few cells, `b` never mutated.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

BOXES = (("lymphocyte", 2, 3, 12, 14), ("monocyte", 20, 5, 33, 22), ("lymphocyte", 5, 16, 18, 28))
OUTLINE = [[2, 3], [12, 3], [12, 14]]
FILES = {
    "labelme": "images/a.json",
    "geojson": "images/a.geojson",
    "via": "via.json",
    "via table": "via.csv",
    "supervisely": "ds/ann/a.png.json",
    "datumaro": "annotations/train.json",
    "cvat tracks": "annotations.xml",
    "csv sizes": "labels.csv",
}
# Objects that stand in files which are not mutated.
ELSEWHERE = {"labelme": 3, "geojson": 3, "supervisely": 3}
# Kinds whose file describes the picture `a` alone: if it holds objects, `a` is never "looked at, no cell".
OF_ONE_PICTURE = ("yolo", "voc", "labelme", "geojson", "supervisely")


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((9, 7), 255, np.uint8)).save(out, "PNG")
    return out.getvalue()


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), "utf-8")


def _labelme(root: Path) -> None:
    shapes = [
        {"label": n, "points": [[a, b], [c, d]], "shape_type": "rectangle", "flags": {}} for n, a, b, c, d in BOXES
    ]
    mask = base64.b64encode(_png()).decode()
    more = [
        {"label": "monocyte", "points": OUTLINE, "shape_type": "polygon", "group_id": 2},
        {"label": "monocyte", "points": [[20, 15], [24, 18]], "shape_type": "circle"},
        {"label": "monocyte", "points": [[1, 1], [7, 9]], "shape_type": "mask", "mask": mask},
    ]
    for name, listed in (("a", shapes + more), ("b", shapes)):
        head = {"version": "5.0.1", "flags": {}, "imagePath": f"{name}.png", "imageWidth": 40, "imageHeight": 30}
        _write(root / f"images/{name}.json", head | {"shapes": listed})


def _geojson(root: Path) -> None:
    features = [
        {"type": "Feature", "id": str(k), "properties": {"objectType": "annotation", "classification": {"name": n}},
         "geometry": {"type": "Polygon", "coordinates": [[[a, b], [c, b], [c, d], [a, d], [a, b]]]}}
        for k, (n, a, b, c, d) in enumerate(BOXES)
    ]  # fmt: skip
    many = {"type": "MultiPolygon", "coordinates": [[[[1, 1], [5, 1], [5, 6], [1, 1]]], [[[8, 8], [9, 8], [9, 9]]]]}
    for name, more in (("a", [features[0] | {"geometry": many}]), ("b", [])):
        _write(root / f"images/{name}.geojson", {"type": "FeatureCollection", "features": features + more})


def _via_shapes() -> list[dict]:
    shapes = [{"name": "rect", "x": a, "y": b, "width": c - a, "height": d - b} for _, a, b, c, d in BOXES]
    shapes.append({"name": "ellipse", "cx": 20, "cy": 15, "rx": 5, "ry": 3, "theta": 0.3})
    shapes.append({"name": "polygon", "all_points_x": [2, 12, 12], "all_points_y": [3, 3, 14]})
    return shapes


def _via(root: Path) -> None:
    regions = [{"shape_attributes": s, "region_attributes": {"type": "monocyte"}} for s in _via_shapes()]
    entries = {
        f"{n}.png9": {"filename": f"{n}.png", "size": 9, "regions": regions, "file_attributes": {}} for n in "ab"
    }
    _write(root / "via.json", {"_via_settings": {}, "_via_img_metadata": entries})


def _via_table(root: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    writer.writerow(columns.split(","))
    for name in "ab":
        for k, shape in enumerate(_via_shapes()):
            writer.writerow([f"{name}.png", 9, "{}", 5, k, json.dumps(shape), json.dumps({"type": "monocyte"})])
    _write(root / "via.csv", out.getvalue())


def _supervisely(root: Path) -> None:
    def thing(kind: str, exterior: list, **more: object) -> dict:
        points = {"exterior": exterior, "interior": []}
        return {"classTitle": "monocyte", "geometryType": kind, "points": points, "tags": [], **more}

    boxes = [thing("rectangle", [[a, b], [c, d]]) for _, a, b, c, d in BOXES]
    data = base64.b64encode(zlib.compress(_png())).decode()
    more = [thing("polygon", OUTLINE), thing("bitmap", [], bitmap={"data": data, "origin": [3, 4]})]
    for name, listed in (("a", boxes + more), ("b", boxes)):
        content = {"description": "", "tags": [], "size": {"height": 30, "width": 40}, "objects": listed}
        _write(root / f"ds/ann/{name}.png.json", content)


def _datumaro(root: Path) -> None:
    shapes = [
        {"type": "bbox", "bbox": [a, b, c - a, d - b], "label_id": int(n == "monocyte")} for n, a, b, c, d in BOXES
    ]
    shapes.append({"type": "polygon", "points": [2, 3, 12, 3, 12, 14], "label_id": 0})
    shapes.append({"type": "ellipse", "points": [2, 3, 12, 14], "label_id": 1, "attributes": {"rotation": 20.0}})
    rle = {"size": [30, 40], "counts": [63, 11] + [19, 11] * 9 + [856]}
    shapes.append({"type": "mask", "rle": rle, "label_id": 1, "group": 3})
    labels = [{"name": n, "parent": "", "attributes": []} for n in ("lymphocyte", "monocyte")]
    items = [{"id": n, "annotations": shapes, "image": {"path": f"{n}.png", "size": [30, 40]}} for n in "ab"]
    _write(root / "annotations/train.json", {"info": {}, "categories": {"label": {"labels": labels}}, "items": items})


def _cvat_tracks(root: Path) -> None:
    # The pictures are frames 0 and 1: `fabricate` names them a and b, so the names end in no number; rename them.
    for name, frame in (("a", 0), ("b", 1)):
        (root / f"images/{name}.png").rename(root / f"images/frame_{frame:06d}.png")
    tracks = "".join(
        f'<track id="{k}" label="{n}" source="manual">'
        + "".join(
            f'<box frame="{f}" keyframe="{key}" outside="{out}" occluded="0" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"/>'
            for f, key, out in ((0, 1, 0), (1, 0, 0), (2, 1, 1))
        )
        + "</track>"
        for k, (n, a, b, c, d) in enumerate(BOXES)
    )
    tracks += (
        '<track id="9" label="monocyte"><polygon frame="1" keyframe="1" outside="0" points="1,2;9,2;9,8"/></track>'
    )
    _write(root / "annotations.xml", f"<annotations><version>1.1</version><meta><task/></meta>{tracks}</annotations>")


def _csv_sizes(root: Path) -> None:
    rows = [f"{n};{a}.png;{x0};{y0};{x1 - x0},0;{y1 - y0};40;30" for a in "ab" for n, x0, y0, x1, y1 in BOXES]
    head = "sep=;\nlabel_name;image_name;bbox_x;bbox_y;bbox_width;bbox_height;image_width;image_height"
    _write(root / "labels.csv", "\n".join([head, *rows]) + "\n")


WRITERS = {
    "labelme": _labelme,
    "geojson": _geojson,
    "via": _via,
    "via table": _via_table,
    "supervisely": _supervisely,
    "datumaro": _datumaro,
    "cvat tracks": _cvat_tracks,
    "csv sizes": _csv_sizes,
}


def count_objects(kind: str, text: str, data: bytes) -> int:
    """Objects in a file of one of these kinds; ValueError, TypeError and the like where it can't be read."""
    if kind == "cvat tracks":
        tags = ("box", "polygon", "mask", "ellipse", "polyline", "points", "cuboid")
        shapes = [e for track in ElementTree.fromstring(data).iter("track") for e in track if e.tag in tags]
        return sum(e.get("outside") != "1" for e in shapes)
    if kind == "csv sizes":
        lines = text.splitlines()
        rows = list(csv.reader(lines[1:] if lines[:1] == ["sep=;"] else lines, delimiter=";"))
        return sum(sum(bool(v.strip()) for v in row) > 3 for row in rows[1:])
    if kind == "via table":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        return sum((row.get("region_shape_attributes") or "{}") not in ("", "{}") for row in rows)
    value = json.loads(text)
    if kind == "labelme":
        return len(value["shapes"]) if isinstance(value, dict) and isinstance(value.get("shapes"), list) else 0
    if kind == "geojson":
        found = value.get("features") if isinstance(value, dict) and value.get("type") == "FeatureCollection" else None
        return len(found) if isinstance(found, list) else 0
    if kind == "via":
        entries = value.get("_via_img_metadata", value) if isinstance(value, dict) else {}
        listed = [e.get("regions", []) for e in entries.values()] if isinstance(entries, dict) else []
        return sum(len(r) for r in listed if isinstance(r, (list, dict)))
    if kind == "supervisely":
        is_one = isinstance(value, dict) and isinstance(value.get("objects"), list) and "size" in value
        return len(value["objects"]) if is_one else 0
    items = value["items"] if isinstance(value, dict) and "categories" in value else []
    return sum(
        a.get("type") not in ("label", "caption", "hash_key") if isinstance(a, dict) else True
        for item in items
        for a in (item["annotations"] if isinstance(item.get("annotations"), list) else [])
    )

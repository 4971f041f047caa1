"""Files of annotation tools as Python values: labelme's shapes, Datumaro's annotations."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

OUTLINE = [[10, 10], [40, 10], [40, 50], [10, 50]]


def png(mask, mode="L"):
    out = io.BytesIO()
    Image.fromarray(mask).convert(mode).save(out, "PNG")
    return out.getvalue()


MASK = np.full((40, 30), 255, np.uint8)


def labelme(*shapes, **more):
    return {"version": "5", "flags": {}, "shapes": list(shapes), "imagePath": "a.png", "imageWidth": 200,
            "imageHeight": 100, **more}  # fmt: skip


def shape(kind, points, **more):
    return {"label": "neutrophil", "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def datumaro(*annotations, path="a.png"):
    labels = [{"name": n, "parent": "", "attributes": []} for n in ("neutrophil", "lymphocyte")]
    annotations = [{"id": n, "label_id": 0, "group": 0, "attributes": {}, **a} for n, a in enumerate(annotations)]
    item = {"id": "a", "annotations": annotations, "image": {"path": path, "size": [100, 200]}}
    return {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}

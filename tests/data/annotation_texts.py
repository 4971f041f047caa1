"""Texts of annotation files: a picture a.png of 200 x 100 px and what is drawn on it."""

from __future__ import annotations

NEUTROPHIL, LYMPHOCYTE = [10, 10, 40, 50], [100, 20, 140, 60]


def coco(*annotations, name="a.png", size=(200, 100), **image):
    return {
        "images": [{"id": 1, "file_name": name, "width": size[0], "height": size[1], **image}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "neutrophil"}],
    }


def voc(objects="", name="a.png", size=(200, 100), head=""):
    return (
        f"{head}<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{objects}</annotation>"
    )


def voc_object(box, more="", name="neutrophil"):
    x0, y0, x1, y1 = box
    corners = f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    return f"<object><name>{name}</name>{corners}{more}</object>"


def cvat(shapes, more="", name="a.png"):
    return (
        f'<annotations><version>1.1</version><image id="0" name="{name}" width="200" height="100">{shapes}</image>'
        f"{more}</annotations>"
    )

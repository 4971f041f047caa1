"""The backup of a task of CVAT: its shapes are read, frames of a job in progress are not empty."""

from __future__ import annotations

import json

import pytest
from data.almost_right import picture, put, take
from data.annotation_texts import NEUTROPHIL

from leukoscope.dataset.manifest import read_dataset

BACKUP_SHAPES = [
    ({"type": "rectangle", "points": [10, 10, 40, 50]}, NEUTROPHIL),
    ({"type": "rectangle", "points": [70, 40, 130, 60], "rotation": 90.0}, [90, 20, 110, 80]),
    ({"type": "polygon", "points": [10, 10, 40, 10, 40, 50]}, NEUTROPHIL),
    ({"type": "ellipse", "points": [100, 50, 130, 40]}, [70, 40, 130, 60]),
    ({"type": "mask", "points": [0, 1200, 10, 10, 39, 49]}, NEUTROPHIL),
]


def backup(root, *shapes, status="completed", tracks=(), tags=()):
    shapes = [{"frame": 0, "label": "neutrophil", "source": "manual", **s} for s in shapes]
    put(root / "task.json", {"jobs": [{"start_frame": 0, "stop_frame": 1, "status": status}], "data": {}})
    put(root / "annotations.json", [{"shapes": shapes, "tracks": list(tracks), "tags": list(tags)}])
    lines = [{"version": "1.1"}, {"type": "images"}]
    for name in "ab":
        picture(root / f"data/{name}.png")
        lines.append({"name": name, "extension": ".png", "width": 200, "height": 100})
    put(root / "data/manifest.jsonl", "\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize(("one", "box"), BACKUP_SHAPES)
def test_cvats_backup_of_a_task(tmp_path, one, box):
    backup(tmp_path, one)
    assert take("cvat", tmp_path)[1] == {"data/a.png": [("neutrophil", box)], "data/b.png": []}


def test_a_frame_of_a_job_in_progress_is_not_empty(tmp_path):
    moving = {"type": "rectangle", "points": [10, 10, 40, 50], "frame": 0, "outside": False}
    track = {"label": "neutrophil", "shapes": [moving, moving | {"frame": 1, "outside": True}]}
    told = {"type": "rectangle", "points": [90, 10, 120, 50], "group": 2,
            "attributes": [{"name": "focus", "value": "poor"}]}  # fmt: skip
    model, point = moving | {"source": "auto", "label": "neutrophil"}, {"type": "points", "points": [1, 1]}
    backup(tmp_path, told, model, point, status="annotation", tracks=[track])
    report, cells = take("cvat", tmp_path)
    assert list(cells) == ["data/a.png"] and len(cells["data/a.png"]) == 2 and report.n_objects == 4
    assert report.images_without_annotation == ("data/b.png",)
    attributes = [dict(c.attributes) for c in read_dataset(tmp_path / "out").fields[0].cells]
    assert {"focus": "poor", "group_id": "2"} in attributes
    backup(tmp_path, tags=[{"frame": 1, "label": "lymphocyte"}], status="annotation")
    assert take("cvat", tmp_path, replace_set=True)[1] == {"data/b.png": [("lymphocyte", [0, 0, 200, 100])]}

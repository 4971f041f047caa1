"""CVAT's task backup: `task.json`, `annotations.json` and `data/` with the pictures and their list.

It says more than the other exports: the state of each job, so that a frame of a job in progress is not "no cell".
"""

import json
from collections import defaultdict
from dataclasses import replace

from leukoscope.dataset.extras import with_attributes
from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake, Seat
from leukoscope.dataset.raw import RawCell, RawSet, number
from leukoscope.dataset.rle import outline_of, read_cvat_rle
from leukoscope.dataset.shapes import ellipse, note_turned, pairs_of, polygon, turned_box, whole_picture
from leukoscope.dataset.text import parse_json, read_json, read_text
from leukoscope.errors import DataError

_OTHER_SHAPES = ("polyline", "points", "cuboid", "skeleton")
_DONE = ("completed", "validation")  # states of a job whose frames somebody has looked at


def read_backups(intake: Intake) -> bool:
    """Take every task whose backup lies under the folder; whether there was one."""
    tasks = [f for f in files_under(intake.raw.root, ("task.json",)) if f.rpartition("/")[2] == "task.json"]
    for file in tasks:
        _read_task(file.removesuffix("task.json"), intake)
    return bool(tasks)


def _read_task(folder: str, intake: Intake) -> None:
    root = intake.raw.root / folder
    task, jobs = read_json(root / "task.json"), read_json(root / "annotations.json")
    if not isinstance(task, dict) or not isinstance(jobs, list) or not all(isinstance(j, dict) for j in jobs):
        raise DataError(
            f"{root} is no backup of a CVAT task: expected an object in task.json, a list in annotations.json"
        )
    names = _names(folder, task, intake)
    shapes: dict[int, list[dict]] = defaultdict(list)
    tags: dict[int, list[str]] = defaultdict(list)
    for job in jobs:
        for shape in _dicts(job.get("shapes")):
            shapes[_frame(shape)].append(shape)
        for track in _dicts(job.get("tracks")):
            said = {k: track[k] for k in ("label", "source", "group") if k in track}
            for shape in _dicts(track.get("shapes")):  # key frames only: what lies between is not stored
                if not shape.get("outside"):
                    shapes[_frame(shape)].append(said | shape)
        for tag in _dicts(job.get("tags")):
            tags[_frame(tag)].append(str(tag.get("label", "")))
    looked_at = _looked_at(task, len(names))
    for frame in sorted({*shapes, *tags, *looked_at}):
        stated = names.get(frame)
        where = f"{folder}annotations.json frame {frame}"
        _read_frame(stated, where, shapes[frame], tags[frame] if not any(shapes.values()) else [], intake)


def _names(folder: str, task: dict, intake: Intake) -> dict[int, str]:
    """{frame: the picture's path} from the list of pictures in `data/`; by the order of their names without it."""
    listing = intake.raw.root / f"{folder}data/manifest.jsonl"
    if listing.is_file():
        lines = [parse_json(line, listing) for line in read_text(listing).splitlines() if line.strip()]
        names = [f"{v['name']}{v.get('extension', '')}" for v in lines if isinstance(v, dict) and "name" in v]
    else:
        names = [f.removeprefix(f"{folder}data/") for f in intake.index.files if f.startswith(f"{folder}data/")]
    data = task.get("data") if isinstance(task.get("data"), dict) else {}
    start = data.get("start_frame") if isinstance(data.get("start_frame"), int) else 0
    return {k: f"{folder}data/{name}" for k, name in enumerate(names[max(start, 0) :])}


def _looked_at(task: dict, n_frames: int) -> set[int]:
    """Frames of jobs that are done, so that one without a shape holds no cell."""
    done: set[int] = set()
    for job in _dicts(task.get("jobs")):
        ends = (job.get("start_frame"), job.get("stop_frame"))
        if job.get("status") in _DONE and all(isinstance(e, int) for e in ends):
            done |= set(range(max(ends[0], 0), min(ends[1] + 1, n_frames)))
    return done


def _dicts(value: object) -> list[dict]:
    return [v if isinstance(v, dict) else {} for v in value] if isinstance(value, list) else []


def _frame(entry: dict) -> int:
    frame = entry.get("frame")
    return frame if type(frame) is int else -1


def _read_frame(stated: str | None, where: str, shapes: list[dict], tags: list[str], intake: Intake) -> None:
    raw = intake.raw
    raw.n_objects += len(shapes) + len(tags)
    if stated is None:
        raw.without_image(where, len(shapes) + len(tags))
        return
    seat = intake.seat(stated, where, len(shapes) + len(tags))
    if seat is not None:
        cells = [_read_shape(s, f"{where} shape {n}", seat, raw) for n, s in enumerate(shapes)]
        intake.take(seat, cells + whole_picture(tags, where, seat, raw))


def _read_shape(shape: dict, where: str, seat: Seat, raw: RawSet) -> RawCell | None:
    """One shape in px, or None where it outlines no cell or can't be read: listed then."""
    kind, code = str(shape.get("type")), str(shape.get("label") or "").strip()
    if kind in _OTHER_SHAPES:
        raw.drop(seat.file, f"a {kind} is no outline of a cell", where)
        return None
    try:
        cell, is_turned = _shape(kind, shape, code)
    except (ValueError, DataError) as error:
        raw.drop(seat.file, f"{kind[:30]} that can't be read", f"{where}, {code[:60]}: {str(error)[:80]}")
        return None
    if is_turned:
        note_turned(raw, seat.file, where)
    said = {str(a.get("name", a.get("spec_id"))): str(a.get("value", "")) for a in _dicts(shape.get("attributes"))}
    said |= {"occluded": "1"} if shape.get("occluded") is True else {}
    said |= {"group_id": str(shape["group"])} if shape.get("group") else {}
    if str(shape.get("source")).lower() == "auto":
        cell = replace(cell, predicted=f"source {json.dumps('auto')}")
    return with_attributes(cell, said)


def _shape(kind: str, shape: dict, code: str) -> tuple[RawCell, bool]:
    points, degrees = shape.get("points"), number(shape.get("rotation") or 0)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = pairs_of(points)
        return turned_box((x0, y0, x1, y1), degrees, code)
    if kind == "polygon":
        return polygon(pairs_of(points), code), False
    if kind == "ellipse":  # its middle, then the point right of it and above it
        (cx, cy), (right, top) = pairs_of(points)
        return ellipse((cx, cy), (abs(right - cx), abs(cy - top)), code, degrees=degrees), False
    if kind == "mask":  # counts, then the corners of their box, the last px included
        values = [number(v) for v in points] if isinstance(points, list) else []
        if len(values) < 5 or any(v != int(v) for v in values):
            raise ValueError("expected whole numbers")
        left, top, right, bottom = values[-4:]
        counts = ",".join(str(int(v)) for v in values[:-4])
        contour, _ = outline_of(*read_cvat_rle(counts, left, top, right - left + 1, bottom - top + 1))
        return RawCell((left, top, right + 1, bottom + 1), code, contour), False
    raise ValueError(f"no such shape: {kind[:30]}")

"""3,000 mutated annotation files from a seed: does importing any crash, hang, or lose an object without a word?

    python -m benchmarks.sets.mutated_annotations [--n 3000] [--seed 1]

Each file is a small set's annotation with its bytes, its numbers or its structure changed. An import must end in one
line of an error that Leukoscope raises on purpose, or in a report that accounts for every object: as many objects as
a count that shares no code with the readers finds in the file, each in the manifest or in a line that says "dropped".
Anything else is counted: a crash (another exception, or an error of several lines), a hang (over --limit seconds),
a silent loss (objects that neither the manifest nor the report has; a picture recorded as "no cell" whose file holds
objects). Exit code 1 when there was any.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np
from data.make_pictures import draw_field

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.sets import annotation_samples as samples
from benchmarks.sets.mutations import MUTATIONS
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import LeukoscopeError

SIZE = (40, 30)


BOXES = samples.BOXES


FILES = {
    "yolo": "labels/a.txt",
    "yolo names": "data.yaml",
    "yolo side table": "leukoscope-cells.csv",
    "voc": "Annotations/a.xml",
    "coco": "annotations/instances_train.json",
    "cvat": "annotations.xml",
    "csv": "labels.csv",
    "label-studio": "export.json",
    "xyc": "images/a.xyc",
    **samples.FILES,
}


_RLE = {"size": [30, 40], "counts": [63, 11] + [19, 11] * 9 + [856]}


class Hang(BaseException):
    """The time is up; no `except Exception` may swallow it."""


def fabricate(root: Path, kind: str) -> Path:
    """Two pictures and their annotation in one format; the second picture's annotation is never mutated."""
    for name in ("a", "b"):
        draw_field(root / f"images/{name}.png", SIZE, [(10, 10, 5)], seed=ord(name))
    shapes = {"yolo": _yolo, "voc": _voc, "coco": _coco, "cvat": _cvat, "csv": _csv, "xyc": _xyc}
    if kind in samples.WRITERS:
        samples.WRITERS[kind](root)
    else:
        (shapes | {"label-studio": _label_studio})[kind.split()[0]](root)
    return root / FILES[kind]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _yolo(root: Path) -> None:
    _write(root / "data.yaml", "path: .\nnames:\n  0: lymphocyte\n  1: monocyte\n")
    lines = [
        f"{int(name == 'monocyte')} {(x0 + x1) / 80:.6f} {(y0 + y1) / 60:.6f} {(x1 - x0) / 40:.6f} {(y1 - y0) / 30:.6f}"
        for name, x0, y0, x1, y1 in BOXES
    ]
    lines.append("0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.5")
    _write(root / "labels/a.txt", "\n".join(lines) + "\n")
    _write(root / "labels/b.txt", lines[0] + "\n")
    head = "label_file,line,text,source_code,exact_box,attributes\n"
    _write(root / "leukoscope-cells.csv", f'{head}labels/a.txt,1,{lines[0]},LYT,1 2 3 4,"{{""a"": ""b""}}"\n')


def _voc(root: Path) -> None:
    objects = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for n, x0, y0, x1, y1 in BOXES
    )
    for name in ("a", "b"):
        size = "<size><width>40</width><height>30</height></size>"
        _write(
            root / f"Annotations/{name}.xml", f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>"
        )


def _coco(root: Path) -> None:
    images = [{"id": i, "file_name": f"{n}.png", "width": 40, "height": 30} for i, n in ((7, "a"), (3, "b"))]
    annotations = [
        {"id": i, "image_id": 7, "category_id": 2 + (n == "monocyte"), "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
        for i, (n, x0, y0, x1, y1) in enumerate(BOXES)
    ]
    annotations[0]["segmentation"] = [[2, 3, 12, 3, 12, 14]]
    annotations[1]["segmentation"] = _RLE
    annotations.append(
        {"id": 9, "image_id": 3, "category_id": 3, "bbox": [1, 1, 9, 9], "attributes": {"occluded": True}}
    )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "lymphocyte"},
                                                                            {"id": 3, "name": "monocyte"}]}  # fmt: skip
    _write(root / "annotations/instances_train.json", json.dumps(content, indent=1))


def _cvat(root: Path) -> None:
    shapes = "".join(
        f'<box label="{n}" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}">'
        '<attribute name="q">1</attribute></box>'
        for n, x0, y0, x1, y1 in BOXES
    )
    shapes += '<polygon label="monocyte" points="1.0,2.0;9.5,2.0;9.5,8.0"></polygon>'
    shapes += '<mask label="lymphocyte" rle="2, 2, 1, 4" left="4" top="5" width="3" height="3"></mask>'
    images = "".join(
        f'<image id="{i}" name="{n}.png" width="40" height="30">{shapes}'
        '<tag label="field"><attribute name="patient_id">P1</attribute></tag></image>'
        for i, n in enumerate("ab")
    )
    _write(root / "annotations.xml", f"<annotations><version>1.1</version><meta><task/></meta>{images}</annotations>")


def _csv(root: Path) -> None:
    rows = [f"{n}.png,{c},{x0},{y0},{x1},{y1},P1" for n in "ab" for c, x0, y0, x1, y1 in BOXES]
    _write(root / "labels.csv", "\n".join(["image,label,x0,y0,x1,y1,patient_id", *rows]) + "\n")


def _label_studio(root: Path) -> None:
    regions = [
        {"id": str(i), "type": "rectanglelabels", "original_width": 40, "original_height": 30,
         "value": {"x": x0 / 0.4, "y": y0 / 0.3, "width": (x1 - x0) / 0.4, "height": (y1 - y0) / 0.3, "rotation": 0,
                   "rectanglelabels": [n]}}
        for i, (n, x0, y0, x1, y1) in enumerate(BOXES)
    ]  # fmt: skip
    regions.append({"id": "p", "type": "polygonlabels", "value": {"points": [[5, 5], [40, 5], [30, 60]],
                                                                 "polygonlabels": ["monocyte"]}})  # fmt: skip
    regions.append({"id": "p", "type": "choices", "from_name": "focus", "value": {"choices": ["sharp"]}})
    tasks = [
        {"id": i, "data": {"image": f"/data/upload/1/0123abcd-{n}.png"}, "annotations": [{"id": 1, "result": regions}]}
        for i, n in enumerate("ab")
    ]
    _write(root / "export.json", json.dumps(tasks, indent=1))


def _xyc(root: Path) -> None:
    _write(root / "images/a.xyc", "10 12\n20 15\n31 8\n")
    _write(root / "images/b.xyc", "")


def count_objects(kind: str, data: bytes) -> int | None:
    """Objects in an annotation file of `fabricate`, by other means than the readers'; None where it can't be read."""
    try:
        text = data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data.decode("utf-8-sig")
        if kind in samples.FILES:
            return samples.count_objects(kind, text, data)
        if kind in ("voc", "cvat"):
            tree = ElementTree.fromstring(data)
            tags = ("object",) if kind == "voc" else ("box", "polygon", "mask", "polyline", "points", "cuboid")
            places = tree.iter() if kind == "voc" else (e for image in tree.iter("image") for e in image)
            return sum(e.tag in tags for e in places)
        if kind == "coco":
            value = json.loads(text)
            listed = [value.get(k) for k in ("images", "annotations", "categories")] if isinstance(value, dict) else []
            return len(listed[1]) if listed and all(isinstance(v, list) for v in listed) else 0
        if kind == "label-studio":
            answers = [a for task in json.loads(text) for a in task.get("annotations") or task.get("completions") or []]
            shapes = ("rectanglelabels", "polygonlabels")
            results = [r for a in answers for r in a.get("result", []) if isinstance(r, dict)]
            return sum(r.get("type") in shapes for r in results)
        if kind == "csv":
            rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
            return sum(sum(bool(v.strip()) for v in row) > 2 for row in rows)  # a picture's name alone is no object
        return len(text.split()) // 2 if kind == "xyc" else sum(bool(line.strip()) for line in text.splitlines())
    except (ValueError, ElementTree.ParseError, csv.Error, AttributeError, TypeError, KeyError, RecursionError):
        return None


# Objects in files that are not mutated.
ELSEWHERE = {"yolo": 1, "yolo names": 5, "yolo side table": 5, "voc": 3, **samples.ELSEWHERE}


def judge(kind: str, root: Path, data: bytes, limit: float) -> tuple[str, str]:
    """(outcome, detail) of importing a mutated set: refused, accounted, or what should never be."""
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        source = "all-idb1" if kind == "xyc" else None
        report = import_dataset(kind.split()[0], root, root / "out", source=source, replace_set=True)
    except LeukoscopeError as error:
        lines = str(error).splitlines()
        return (
            ("refused", lines[0]) if len(lines) == 1 and len(lines[0]) < 4000 else ("crash", f"long error: {lines[:2]}")
        )
    except Hang:
        return "hang", f"over {limit:g} s"
    except BaseException:  # the one place that must see everything: it counts what got out
        return "crash", traceback.format_exc(limit=-2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if report.n_objects != report.n_cells + report.n_dropped:
        return "silent loss", f"{report.n_objects} objects, {report.n_cells} cells, {report.n_dropped} dropped"
    counted = 0 if kind in ("yolo names", "yolo side table") else count_objects(kind, data)
    if counted is None:
        return "silent loss", "taken, though another parser can't read it"
    if kind in samples.OF_ONE_PICTURE and counted:
        for field in read_dataset(root / "out").fields:
            if Path(field.file).stem == "a" and not field.cells:
                return "silent loss", f"{counted} objects of a picture that is recorded as empty"
    counted += ELSEWHERE.get(kind, 0)
    if counted > report.n_objects:
        return "silent loss", f"{counted} objects by another count, {report.n_objects} in the report"
    return "accounted", ""


def main(args: Args) -> Rows:
    def on_alarm(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, on_alarm)
    outcomes: dict[str, Counter] = {kind: Counter() for kind in FILES}
    slowest = dict.fromkeys(FILES, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        places = {kind: fabricate(Path(folder) / kind.replace(" ", "-"), kind) for kind in FILES}
        whole = {kind: path.read_bytes() for kind, path in places.items()}
        for i in range(args.n):
            rng = np.random.default_rng([args.seed, i])
            kind, mutate = list(FILES)[i % len(FILES)], MUTATIONS[rng.integers(len(MUTATIONS))]
            data = mutate(rng, whole[kind])
            places[kind].write_bytes(data)
            start = time.perf_counter()
            outcome, detail = judge(kind, Path(folder) / kind.replace(" ", "-"), data, args.limit)
            slowest[kind] = max(slowest[kind], time.perf_counter() - start)
            places[kind].write_bytes(whole[kind])
            outcomes[kind][outcome] += 1
            if outcome not in ("refused", "accounted"):
                print(f"file {i} ({kind}, {mutate.__name__}): {outcome}: {detail}")
    words = ("crash", "hang", "silent loss", "refused", "accounted")
    rows = [{"annotation": k, "n": c.total(), **{w: c[w] for w in words}, "slowest_s": round(slowest[k], 3)}
            for k, c in outcomes.items()]  # fmt: skip
    total = sum(outcomes.values(), Counter())
    last = {"annotation": "all", "n": total.total(), **{w: total[w] for w in words}}
    last |= {"value": total["crash"] + total["hang"] + total["silent loss"], "threshold": "<= 0"}
    rows.append(last | {"slowest_s": round(max(slowest.values()), 3)})
    yield from rows
    return {"seed": args.seed}


if __name__ == "__main__":
    benchmark(
        main, option("--n", type=int, default=3000), option("--seed", type=int, default=1),
        option("--limit", type=float, default=20.0, help="seconds after which an import counts as a hang"),
    )  # fmt: skip

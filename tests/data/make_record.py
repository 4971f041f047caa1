"""Fabricates a run's outputs: drawn fields, record.json, the journal of its fields, and thumbnails.

    python tests/data/make_record.py OUT [--patients N] [--fields N] [--cells N]

Everything is drawn and invented; nothing comes from a real smear. `fields`, `cells` are per run and per field.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import math
import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter

from leukoscope.flags import Knowledge, not_offered
from leukoscope.pipeline.ratios import Correction, ratio_entries
from leukoscope.pipeline.summary import summarise
from leukoscope.report import write_report
from leukoscope.taxonomy import BLOOD_12, Taxonomy
from leukoscope.types import Differential

USE = "Research use only. Not for diagnosis. A morphologist must review."
KNOWLEDGE = Knowledge(apl_cells=500)
WIDTH, HEIGHT = 640, 480

# APL promyelocytes are not in the bundled blood taxonomy: this one has them, so that the urgent flag can be drawn.
BLOOD_13 = Taxonomy(
    name="blood-13-drawn",
    names=(*BLOOD_12.names[:11], "apl_promyelocyte", "artefact"),
    counted=(*BLOOD_12.counted, "apl_promyelocyte"),
    blasts=("lymphoblast", "apl_promyelocyte"),
    artefacts=("artefact",),
)

# What each invented patient's smear holds: weights by class.
_NORMAL = {
    "segmented_neutrophil": 58,
    "band_neutrophil": 4,
    "lymphocyte": 26,
    "monocyte": 6,
    "eosinophil": 3,
    "basophil": 1,
    "artefact": 4,
}
MIXES = (
    _NORMAL,
    {**_NORMAL, "lymphoblast": 13, "erythroblast": 3, "metamyelocyte": 3, "myelocyte": 2},
    {
        "apl_promyelocyte": 24,
        "promyelocyte": 5,
        "segmented_neutrophil": 30,
        "lymphocyte": 20,
        "monocyte": 4,
        "artefact": 7,
    },
    {"lymphoblast": 70, "lymphocyte": 20, "segmented_neutrophil": 8, "artefact": 9},
)
# radius px, cytoplasm, nucleus, lobes, granules
_LOOKS = {
    "segmented_neutrophil": (25, "#e8d3e0", "#5b3a86", 4, "#d9b7cf"),
    "band_neutrophil": (25, "#e8d3e0", "#5b3a86", 3, "#d9b7cf"),
    "eosinophil": (26, "#efc7a8", "#5d3f86", 2, "#dd6f3c"),
    "basophil": (24, "#cdb6dc", "#4c3178", 2, "#33205c"),
    "lymphocyte": (19, "#b9cbea", "#4a2f7d", 1, None),
    "monocyte": (30, "#bcc0d6", "#6a5096", 2, None),
    "promyelocyte": (30, "#c2b3d9", "#6b4a98", 1, "#8a3f86"),
    "myelocyte": (27, "#d6c3de", "#63438f", 1, "#b988b6"),
    "metamyelocyte": (26, "#e0cbdf", "#5f3f8b", 2, "#cfa3c6"),
    "erythroblast": (18, "#b9a9bf", "#34205a", 1, None),
    "lymphoblast": (27, "#a9b7e0", "#7a58a8", 1, None),
    "apl_promyelocyte": (32, "#c9a9d2", "#7b4f9f", 2, "#6d1f5e"),
    "artefact": (24, "#d8c6d6", "#b79bc0", 1, None),
}
_RIVALS = {
    "segmented_neutrophil": "band_neutrophil",
    "band_neutrophil": "segmented_neutrophil",
    "lymphocyte": "lymphoblast",
    "lymphoblast": "lymphocyte",
    "promyelocyte": "apl_promyelocyte",
    "apl_promyelocyte": "promyelocyte",
    "monocyte": "lymphoblast",
}


def _draw_cell(draw: ImageDraw.ImageDraw, rng: random.Random, class_name: str, x: float, y: float) -> float:
    """Draw one cell; returns its radius."""
    radius, cytoplasm, nucleus, lobes, granules = _LOOKS[class_name]
    r = radius * rng.uniform(0.92, 1.1)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=cytoplasm, outline="#8f7fa6")
    n = r * (0.78 if lobes == 1 else 0.42)
    turn = rng.uniform(0, math.tau)
    for lobe in range(lobes):
        angle = turn + lobe * 1.35
        away = r * (0.08 if lobes == 1 else 0.45)
        cx, cy = x + away * math.cos(angle), y + away * math.sin(angle)
        draw.ellipse((cx - n, cy - n, cx + n, cy + n), fill=nucleus)
    for _ in range(40 if granules else 0):
        angle, away = rng.uniform(0, math.tau), r * 0.9 * rng.random() ** 0.5
        gx, gy = x + away * math.cos(angle), y + away * math.sin(angle)
        draw.ellipse((gx - 1.3, gy - 1.3, gx + 1.3, gy + 1.3), fill=granules)
    return r


def _draw_field(rng: random.Random, classes: list[str]) -> tuple[Image.Image, list[list[float]]]:
    """One drawn photograph and the boxes of its white cells, in the order of `classes`."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "#f3ece8")
    draw = ImageDraw.Draw(image)
    for _ in range(110):
        x, y, r = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(17, 20)
        draw.ellipse((x - r, y - r, x + r, y + r), fill="#e3b3a9", outline="#cf9a92")
        draw.ellipse((x - r * 0.4, y - r * 0.4, x + r * 0.4, y + r * 0.4), fill="#eccac2")
    columns = math.ceil(math.sqrt(max(1, len(classes)) * WIDTH / HEIGHT))
    rows = math.ceil(len(classes) / columns) if classes else 1
    boxes = []
    for at, class_name in enumerate(classes):
        x = (at % columns + rng.uniform(0.35, 0.65)) * WIDTH / columns
        y = (at // columns + rng.uniform(0.35, 0.65)) * HEIGHT / rows
        r = _draw_cell(draw, rng, class_name, x, y)
        boxes.append([round(v, 1) for v in (max(0, x - r), max(0, y - r), min(WIDTH, x + r), min(HEIGHT, y + r))])
    return image.filter(ImageFilter.GaussianBlur(0.8)), boxes


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _probs(rng: random.Random, taxonomy: Taxonomy, class_name: str) -> dict[str, float]:
    weights = {name: rng.uniform(0.001, 0.01) for name in taxonomy.names}
    weights[class_name] = rng.uniform(1.2, 6)
    rival = _RIVALS.get(class_name)
    if rival in weights:
        weights[rival] = rng.uniform(0, 1) ** 3
    total = sum(weights.values())
    return {name: round(weight / total, 6) for name, weight in weights.items()}


def _cell(rng: random.Random, taxonomy: Taxonomy, class_name: str, box: list[float]) -> dict:
    probs = _probs(rng, taxonomy, class_name)
    return {
        "box": box,
        "class": class_name,
        "probs": probs,
        "score": round(rng.uniform(0.5, 0.99), 4),
        "suspicion": round(sum(probs[name] for name in taxonomy.blasts), 6),
    }


def _field(patient: dict, name: str, **values: object) -> dict:
    entry = {
        "file": name,
        "sha256": None,
        "patient_id": patient["patient_id"],
        "smear_id": patient["smear_id"],
        "center": patient["center"],
        "status": "ok",
        "reason": None,
        "width": None,
        "height": None,
        "um_per_px": 0.12,
        "quality": None,
        "cells": [],
    }
    return entry | values


def ratio(name: str, numerator: int, denominator: int, *, banded: bool = True, min_cells: int = 100) -> dict:
    """A ratio of the record, of a model that knows the line of a blast."""
    rest = denominator - numerator
    if banded:
        taxonomy = Taxonomy("drawn", ("myeloblast", "rest"), ("myeloblast", "rest"), blasts=("myeloblast",))
    else:
        taxonomy = Taxonomy("drawn", ("a", "rest"), ("a", "rest"), composites={name: ("a",)})
    counted = Differential("p", "blood", [numerator, rest], [numerator, rest], 1, taxonomy)
    (entry,) = ratio_entries(counted, Correction(), min_cells=min_cells)
    return entry | {"name": name}


def record_of(patients: list[dict], fields: list[dict], taxonomy: Taxonomy, *, min_cells: int = 100) -> dict:
    """A whole record; `patients` are dicts of patient_id, smear_id, center."""
    provenance = {
        "leukoscope": "0.1.0",
        "models": {
            "locator": {"name": "drawn-locator", "onnx_sha256": hashlib.sha256(b"locator").hexdigest()},
            "classifier": {"name": "drawn-classifier", "onnx_sha256": hashlib.sha256(b"classifier").hexdigest()},
        },
        "taxonomy": taxonomy.to_dict(),
        "taxonomy_sha256": taxonomy.sha256(),
        "specimen": "blood",
        "um_per_px": 0.12,
        "min_cells": min_cells,
        "usual_min_cells": 200,
        "unidentified_below": 0.0,
        "not_offered": not_offered(taxonomy, "blood", KNOWLEDGE),
        "options": {"model": "drawn"},
        "use": USE,
    }
    said = {"specimen": "blood", "min_cells": min_cells, "knowledge": KNOWLEDGE}
    entries = list(summarise(fields, taxonomy, **said))
    assert {p["patient_id"] for p in patients} >= {e["patient_id"] for e in entries}
    fields = [f | {"cells": [c | {"identified": True} for c in f["cells"]]} for f in fields]
    return {"record_version": 2, "provenance": provenance, "patients": entries, "fields": fields}


def run_fixture(**sizes: int):
    """A fixture of a test file: the folder of a run of these sizes, made once."""

    @pytest.fixture(scope="module")
    def run(tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("run")
        make_run(folder, **sizes)
        return folder

    return run


def make_report(out: Path, **sizes: int) -> dict[str, Path]:
    """`make_run`, and its page as "report"."""
    paths = make_run(out, **sizes)
    write_report(paths["record"], paths["thumbs"], out / "report.html")
    return paths | {"report": out / "report.html"}


def rewrite(source: Path, target: Path, change) -> Path:
    """A copy of a record with something changed."""
    record = json.loads(source.read_text("utf-8"))
    change(record)
    target.write_text(json.dumps(record), "utf-8")
    return target


def make_run(out: Path, *, n_patients: int = 3, n_fields: int = 40, n_cells: int = 9, seed: int = 1) -> dict[str, Path]:
    """Write images/, record.json, fields.jsonl (the journal) and thumbs.jsonl under `out`; returns their paths.

    Of every ten fields one fails or is poor; patient ids hold what an HTML page must escape.
    """
    rng = random.Random(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    ids = [
        "A-101",
        "B-202 <script>alert(1)</script>",
        'C-303 & "sons"',
        *(f"P-{n:04}" for n in range(4, n_patients + 1)),
    ]
    patients = [{"patient_id": ids[n], "smear_id": f"S{n + 1}", "center": "Drawn hospital"} for n in range(n_patients)]
    fields, thumbs = [], []
    for index in range(n_fields):
        row = index * n_patients // n_fields
        path = out / "images" / f"field_{index:04}.jpg"
        if index % 20 == 7:
            path.write_bytes(b"not a picture")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            fields.append(_field(patients[row], str(path), status="failed", reason="not_an_image", sha256=digest))
            continue
        mix = MIXES[row % len(MIXES)]
        classes = rng.choices(list(mix), list(mix.values()), k=n_cells)
        image, boxes = _draw_field(rng, classes)
        problems = ["blurred"] if index % 20 == 14 else []
        image = image.filter(ImageFilter.GaussianBlur(3)) if problems else image
        path.write_bytes(_jpeg(image))
        cells = [_cell(rng, BLOOD_13, name, box) for name, box in zip(classes, boxes, strict=True)]
        fields.append(
            _field(
                patients[row],
                str(path),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                width=WIDTH,
                height=HEIGHT,
                cells=cells,
                status="poor" if problems else "ok",
                reason=", ".join(problems) or None,
                quality={"focus": 0.8, "exposure": 0.7, "stain": 0.6, "content": 0.5, "problems": problems},
            )
        )
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            half = 0.75 * max(x1 - x0, y1 - y0)
            cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
            crop = image.crop(tuple(int(v) for v in (cx - half, cy - half, cx + half, cy + half))).resize((96, 96))
            thumbs.append({"field": index, "cell": number, "jpeg": base64.b64encode(_jpeg(crop)).decode()})
    return write_run(out, record_of(patients, fields, BLOOD_13), thumbs)


def write_run(out: Path, record: dict, thumbs: list[dict]) -> dict[str, Path]:
    """Write a record, its journal and its thumbnails."""
    paths = {"record": out / "record.json", "journal": out / "fields.jsonl", "thumbs": out / "thumbs.jsonl"}
    paths["record"].write_text(json.dumps(record, indent=1), "utf-8")
    paths["journal"].write_text("".join(json.dumps(field) + "\n" for field in record["fields"]), "utf-8")
    paths["thumbs"].write_text("".join(json.dumps(thumb) + "\n" for thumb in thumbs), "utf-8")
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=3)
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--cells", type=int, default=9)
    options = parser.parse_args()
    print(make_run(options.out, n_patients=options.patients, n_fields=options.fields, n_cells=options.cells)["record"])

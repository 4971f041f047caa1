"""A tiny PCM study: fields of painted cells of patients, and a study folder whose networks train in a second."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.types import FieldKey

COLORS = {
    "lymphocyte": (110, 60, 150), "neutrophil": (60, 60, 160), "basophil": (40, 20, 90), "eosinophil": (200, 110, 80),
    "lymphoblast": (150, 60, 190), "monocyte": (120, 110, 150), "myeloblast": (170, 40, 120),
    "apl_promyelocyte": (90, 20, 120), "other": (200, 190, 210), "band_neutrophil": (50, 70, 170),
    "erythroblast": (190, 60, 60),
}  # fmt: skip
PCM_CLASSES = tuple(COLORS)[:9]
SIDE = 96

DETECTOR = """\
task = "detect"
name = "tiny"
arch = "rtdetrv2-tiny"
taxonomy = "pcm-9"
epochs = 1
side = 64
batch_size = 4
learning_rate = 1e-3
final_rate = 5e-4
backbone_rate = 1e-3
warmup_steps = 1
plain_epochs = 0
multi_scale = 0.0
mosaic = 0.0
mixup = 0.0
ema = 0.5
ema_warmup = 1
"""
CLASSIFIER = """\
task = "finetune"
name = "tiny"
taxonomy = "pcm-9"
arch = "tiny"
size = 32
pad_fraction = 0.1
epochs = 2
batch_size = 16
learning_rate = 1e-2
augment = "none"
norms = "trained"
"""
ROWS = """\
[[row]]
name = "yolo-nine"
kind = "detector"
label = "YOLO11n"
config = "detector.toml"
extra = "yolo"

[[row]]
name = "deim-nine"
kind = "detector"
label = "DEIM tiny"
config = "detector.toml"

[[row]]
name = "deim-wbc"
kind = "detector"
label = "DEIM tiny"
config = "detector.toml"
classes = "wbc"

[[row]]
name = "net-a"
kind = "classifier"
label = "Net A"
config = "classifier.toml"

[[row]]
name = "net-b"
kind = "classifier"
label = "Net B"
config = "second.toml"

[[row]]
name = "two-stage"
kind = "two-stage"
label = "DEIM tiny, then Net A"
detector = "deim-wbc"
classifier = "net-a"

[[row]]
name = "adaptation"
kind = "adaptation"
label = "Net A"
source = "net-a"
methods = ["lp-ft", "nearest-mean", "logistic"]
"""


def paint_study_set(
    folder: Path,
    *,
    name: str,
    classes: tuple[str, ...] = PCM_CLASSES,
    patients: int = 6,
    fields: int = 2,
    splits: tuple[str | None, ...] = (None,),
    tint: int = 0,
    seed: int = 0,
    single: bool = False,
) -> Path:
    """A data set folder: `fields` pictures of each patient, four cells in each (one that fills it, if `single`).

    splits  of the patients in turn; tint is added to every colour: another laboratory's stain
    """
    rng = np.random.default_rng(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    made, number = [], 0
    for p in range(patients):
        for k in range(fields):
            ground = rng.integers(225, 245, (SIDE, SIDE, 3)).astype(np.uint8)
            picture = Image.fromarray(ground)
            draw, cells = ImageDraw.Draw(picture), []
            for x, y, side in rng.integers((-10, -10, 8), (SIDE, SIDE, 30), (12, 3)).tolist():  # no two grounds alike
                draw.ellipse((x, y, x + side, y + side), fill=(int(rng.integers(205, 235)), 185, 190))
            places = [(0, 0)] if single else [(0, 0), (48, 0), (0, 48), (48, 48)]
            for left, top in places:
                class_name = classes[number % len(classes)]
                number += 1
                side = SIDE if single else int(rng.integers(26, 40))
                x, y = (0, 0) if single else (left + int(rng.integers(0, 8)), top + int(rng.integers(0, 8)))
                color = tuple(int(np.clip(v + tint + rng.integers(-8, 8), 0, 255)) for v in COLORS[class_name])
                draw.ellipse((x, y, x + side - 1, y + side - 1), fill=color)
                cells.append(TruthCell((float(x), float(y), float(x + side), float(y + side)), class_name, class_name))
            file = f"{name}-{p}-{k}.png"
            picture.save(images / file)
            digest = hashlib.sha256((images / file).read_bytes()).hexdigest()
            key = FieldKey(file[:-4], f"{name}-s{p}", f"{name}-p{p}", "c", "blood")
            split = splits[p % len(splits)]
            made.append(TruthField(key, file, digest, SIDE, SIDE, tuple(cells), split=split))
    write_dataset(Dataset(name, images, tuple(made), "CC0", "painted here", "painted"), folder)
    return folder


def study_folder(folder: Path, *, head: str = "", rows: str = ROWS) -> Path:
    """A folder with study.toml and its networks' files; `head` goes before the rows."""
    folder.mkdir(parents=True)
    (folder / "detector.toml").write_text(DETECTOR)
    (folder / "classifier.toml").write_text(CLASSIFIER)
    (folder / "second.toml").write_text(CLASSIFIER + "head_epochs = 1\nseed = 1\n")
    start = 'title = "Tiny study"\nresamples = 40\ntarget_draws = 2\ntarget_share = 0.25\n'
    (folder / "study.toml").write_text(start + head + "\n" + rows)
    return folder


def open_set(folder: Path) -> Dataset:
    """Read it back."""
    return read_dataset(folder)

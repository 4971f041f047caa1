"""The marrow study's ratios on 60 rendered patients with stand-ins for its networks: what counting and correcting do.

    python -m benchmarks.studies.marrow_ratios --work runs/marrow-ratios [--cohort FOLDER] [--patients 60]

The study itself (benchmarks/studies/cblc_small.py) trains five networks, which takes half an hour of two cores. Here
cells are found by their stain and parted by a watershed, which finds smudges and deposits too and splits and joins
some, and are named by logistic regression on colour, size and texture: poorer than the networks, within minutes.
Everything after that is the study's own code: members that leave out folds, the confusion matrix with its row of
artefacts, patients' scatter, limits, coverage of the expert's ratio. "before": as the study was until 2026-11-26: what
is found and is no expert's cell is called a class like any other, all patients are alike, and a patient's own cells
correct it. Drawings: nothing here is about patients. Writes benchmarks/results/marrow_ratios.csv.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.cli import main as leukoscope
from leukoscope.evaluate.boxes import pair_boxes
from leukoscope.experiments.cblc.calibration import calibrated_ratios
from leukoscope.experiments.cblc.cohort import DEVELOP, Cohort, patient_key, read_cohort
from leukoscope.experiments.cblc.measure import area, coverage, error_difference, patient_scores
from leukoscope.experiments.cblc.patients import (
    PatientRatio,
    Validation,
    by_patient,
    called_counts,
    left_out_confusion,
    make_ratio,
    patient_ratios,
)
from leukoscope.experiments.cblc.settings import with_artefact
from leukoscope.experiments.cblc.tables import POOLED
from leukoscope.experiments.cblc.verdicts import HELD, corrected, parts, raw
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.intervals import Limits
from leukoscope.models.bundle import CropRule
from leukoscope.quantify import Scatter, no_scatter
from leukoscope.taxonomy import MARROW_16, nearest_class
from leukoscope.train.crops.data import CropSet

CENTERS = [f"center-{i}" for i in range(1, 7)]
FOLDS, COMPOSITE = 3, "cblc"
UM_PER_PX = 0.25  # that every field is brought to
MATCH_IOU, GROWTH, LEAST_NUCLEUS_UM2 = 0.4, 1.3, 12.0


def main(args: Args) -> Rows:
    folder = args.cohort or args.work / "cohort"
    if not (folder / "dataset.json").is_file():
        sizes = ["--patients", str(args.patients), "--centers", "6", "--fields", "3", "--seed", "1"]
        if leukoscope(["simulate", "--out", str(folder), "--specimen", "marrow", *sizes]):
            raise SystemExit(1)
    cohort = read_cohort(
        folder, with_artefact(MARROW_16), develop=CENTERS[:3], validate=CENTERS[3:], folds=FOLDS, seed=1
    )
    cells = found_cells(cohort, args.work / "cells.npz")
    crops = crop_set(cohort, cells)
    develop = np.array([cohort.patients[g].role == DEVELOP for g in crops.groups])
    rows = [*now(cohort, crops, cells["features"], develop), *before(cohort, crops, cells["features"], develop)]
    matched = crops.extras["matched"]
    rows.append(_row("all", "cells found that are no expert's", Limits(float(1 - matched.mean()), np.nan, np.nan)))
    yield from rows
    return {"patients": len(cohort.patients), "fields_sha256": cohort.dataset.sha256()[:12], "limits": "95 %, patients"}


def found_cells(cohort: Cohort, path: Path) -> dict[str, np.ndarray]:
    """What the stain finds on every field: features (N, F), row of the expert's cell (-1: none), field (N,), boxes."""
    if path.is_file():
        with np.load(path) as held:
            return dict(held)
    parts_of: list[tuple] = []
    for number, field in enumerate(cohort.dataset.fields):
        pixels = read_image(cohort.dataset.path(field))
        pixels = white_balance(pixels, background_color(pixels))
        scale = (field.um_per_px or UM_PER_PX) / UM_PER_PX
        small = Image.fromarray(pixels).resize([round(side * scale) for side in pixels.shape[1::-1]])
        density = -np.log(np.maximum(np.asarray(small, np.float32), 2) / 245).clip(-1, 4)
        boxes, nuclei = nuclei_of(density)
        truth = np.array([c.box for c in field.cells], float).reshape(-1, 4) * scale
        paired = pair_boxes(truth, boxes, nuclei, iou=MATCH_IOU)
        features = np.array([describe(density, box) for box in boxes]).reshape(len(boxes), -1)
        parts_of.append((features, paired, np.full(len(boxes), number), boxes / scale))
        print(f"\r{number + 1} of {len(cohort.dataset.fields)} fields", end="", flush=True)
    print()
    parts_of = [p for p in parts_of if len(p[0])]
    names = ("features", "truth", "field", "boxes")
    cells = {k: np.concatenate([p[i] for p in parts_of]) for i, k in enumerate(names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **cells)
    return cells


def nuclei_of(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) px of cells around nuclei, and each nucleus' area, from optical density (H, W, 3)."""
    red = ndimage.gaussian_filter(density[..., 0], 1.0)
    mask = ndimage.binary_opening(red > max(float(threshold_otsu(red)), 0.25), iterations=2)
    apart = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 2.0)
    peaks = peak_local_max(apart, min_distance=12, labels=ndimage.label(mask)[0])
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    regions = watershed(-apart, seeds, mask=mask)
    boxes, areas = [], []
    for i, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
        area = int((regions[rows, columns] == i).sum())
        if area * UM_PER_PX**2 < LEAST_NUCLEUS_UM2:
            continue
        centre = np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2
        half = np.array([columns.stop - columns.start, rows.stop - rows.start]) / 2 * GROWTH
        boxes.append(np.r_[centre - half, centre + half])
        areas.append(area)
    return np.array(boxes).reshape(-1, 4), np.array(areas, float)


def describe(density: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(F,) size, colour and texture of one box: sides in µm, optical density of nucleus, rim and all, their spread."""
    x0, y0, x1, y1 = (max(0, int(v)) for v in np.round(box))
    od = density[y0:y1, x0:x1]
    total = ndimage.gaussian_filter(od.mean(2), 1)
    cut = max(float(np.quantile(total, 0.5)), 0.35)
    nucleus, rim = total >= cut, (total < cut) & (total > 0.12)
    grain = np.abs(total - ndimage.gaussian_filter(total, 2))
    width, height = (x1 - x0) * UM_PER_PX, (y1 - y0) * UM_PER_PX
    found = [width, height, np.sqrt(width * height), width / height, nucleus.mean(), rim.mean()]
    for part in (nucleus, rim, np.ones_like(nucleus)):
        colours = od[part] if part.any() else od.reshape(-1, 3)
        found += [*colours.mean(0), *colours.std(0), float(grain[part].mean() if part.any() else 0)]
    found += [float(np.quantile(od[..., 0] - od[..., 2], q)) for q in (0.1, 0.5, 0.9)] + [float(nucleus.sum())]
    return np.array(found)


def crop_set(cohort: Cohort, cells: dict[str, np.ndarray]) -> CropSet:
    """The cells as the study's functions want them; no pictures."""
    taxonomy, fields = cohort.taxonomy, cohort.dataset.fields
    own = [fields[i] for i in cells["field"]]
    names = [f.cells[t].class_name if t >= 0 else "artefact" for f, t in zip(own, cells["truth"], strict=True)]
    labels = np.array([taxonomy.index(nearest_class(n, taxonomy.names)) for n in names])
    n = len(labels)
    return CropSet(
        np.zeros((n, 1, 1, 3), np.uint8), labels, np.array([patient_key(f) for f in own]), "patient", taxonomy,
        np.array(names), np.array([f.file for f in own]), cells["boxes"], CropRule(size=16, pad_fraction=0.0),
        extras={"matched": cells["truth"] >= 0, "centers": np.array([f.key.center for f in own]),
                "smears": np.array([f.key.smear_id for f in own])},
    )  # fmt: skip


def call(crops: CropSet, features: np.ndarray, folds: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """(N, C) probabilities: development cells by the member that left their patient out, others by all averaged."""
    members = []
    for fold in range(FOLDS):
        rows = learnt & (folds >= 0) & (folds != fold)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=300))
        model.fit(features[rows], crops.labels[rows])
        probs = np.zeros((len(crops), len(crops.taxonomy.names)))
        probs[:, model.classes_] = model.predict_proba(features)
        members.append(probs)
    together = np.mean(members, axis=0)
    for fold, probs in enumerate(members):
        together[folds == fold] = probs[folds == fold]
    return together


def now(cohort: Cohort, crops: CropSet, features: np.ndarray, develop: np.ndarray) -> list[dict]:
    """The study as it stands."""
    folds = np.array([cohort.patients[g].fold for g in crops.groups])
    probs = call(crops, features, folds, np.ones(len(crops), bool))
    validation = Validation(by_patient(crops, probs, develop))
    ratios = patient_ratios(cohort, crops, probs, validation, composite=COMPOSITE)
    matched = crops.extras["matched"] & ~develop
    right = float((probs.argmax(1) == crops.labels)[matched].mean())
    accuracy = _row(POOLED, "expert's cells named right", Limits(right, np.nan, np.nan))
    return [
        accuracy,
        *rows_of("as it stands", ratios, asked=True),
        *rows_of("on the line of the development patients", calibrated_ratios(ratios), asked=True),
    ]


def before(cohort: Cohort, crops: CropSet, features: np.ndarray, develop: np.ndarray) -> list[dict]:
    """As it was: no artefact class, all patients alike, own cells among those that correct."""
    folds = np.array([cohort.patients[g].fold for g in crops.groups])
    probs = call(crops, features, folds, crops.extras["matched"])
    confusion = left_out_confusion(crops, probs, develop & crops.extras["matched"])
    counts = called_counts(crops, probs, crops.groups)
    ratios = [
        make_ratio(p, p.expert, counts[key], cohort.taxonomy, COMPOSITE, validation=_Alike(confusion))
        for key, p in cohort.patients.items() if key in counts
    ]  # fmt: skip
    return rows_of("before", ratios, asked=False)


class _Alike:
    """One matrix for everybody."""

    def __init__(self, confusion: np.ndarray) -> None:
        self.confusion = confusion

    def for_patient(self, key: str, subset: list[int], counted: list[int]) -> tuple[np.ndarray, Scatter]:
        return self.confusion, no_scatter()


def rows_of(name: str, ratios: list[PatientRatio], *, asked: bool) -> list[dict]:
    """Coverage, error and AUROC in development (left out) and validation."""
    rows = []
    for part, own in parts(ratios).items():
        if part not in ("development, left out", POOLED):
            continue
        held, change = coverage(own), error_difference(own, corrected, raw)
        threshold = {"corrected": f">= {HELD}", "raw": ""} if asked else {"corrected": "", "raw": ""}
        rows += [_row(part, f"{name}: expert's ratio within the {k} limits", held[k], threshold[k]) for k in held]
        rows.append(_row(part, f"{name}: mean absolute error, corrected minus raw", change, "<= 0" if asked else ""))
        for kind, value in (("raw", raw), ("corrected", corrected)):
            errors = [abs(value(r) - r.expert) for r in own if np.isfinite(value(r))]
            rows.append(
                _row(part, f"{name}: mean absolute error, {kind}", Limits(float(np.mean(errors)), np.nan, np.nan))
            )
            rows.append(_row(part, f"{name}: AUROC of AML or not, {kind}", area(patient_scores(own, value))))
        widths = [r.high - r.low for r in own if np.isfinite(r.corrected)]
        rows.append(
            _row(part, f"{name}: width of the corrected limits", Limits(float(np.mean(widths)), np.nan, np.nan))
        )
        none = sum(not np.isfinite(r.corrected) for r in own)
        rows.append(_row(part, f"{name}: patients without a corrected value", Limits(float(none), np.nan, np.nan)))
    return rows


def _plain(values: list[float]) -> Limits:
    """A mean without limits."""
    return Limits(float(np.mean(values)), np.nan, np.nan)


def _row(part: str, measure: str, number: Limits, threshold: str = "") -> dict:
    shown = {k: round(v, 4) if np.isfinite(v := getattr(number, k)) else "" for k in ("value", "low", "high")}
    return {"set": f"rendered marrow, {part}", "measure": measure, **shown, "threshold": threshold}


if __name__ == "__main__":
    benchmark(
        main, option("--work", required=True, type=Path, help="folder for the cohort and the cells found"),
        option("--cohort", type=Path, help="a cohort that is there (default: drawn into --work)"),
        option("--patients", type=int, default=60),
    )  # fmt: skip

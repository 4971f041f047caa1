"""What the pipeline must beat: the noise of a manual count, the size of the nucleus alone, a one-stage detector."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.classes import roc_auc
from leukoscope.evaluate.roc import choose_threshold
from leukoscope.experiments.cblc.cohort import AML, Cohort, patient_key
from leukoscope.experiments.cblc.patients import PatientRatio
from leukoscope.images.color import optical_density
from leukoscope.intervals import Limits
from leukoscope.train.crops.data import CropSet

N_DRAWS = 1000


def manual_noise(ratios: Sequence[PatientRatio], *, n_cells: int, seed: int) -> dict[str, Limits]:
    """Another expert who counts `n_cells` cells of each patient and never errs: binomial draws from the expert ratio.

    Returns the area under the ROC curve, Pearson's correlation and the mean absolute error against the expert ratio,
    each as mean with the 2.5 and 97.5 percentiles of the draws. It is what sampling alone allows.
    """
    kept = [r for r in ratios if math.isfinite(r.expert)]
    expert = np.array([r.expert for r in kept])
    judged = np.array([bool(r.patient.diagnosis) for r in kept], bool)
    positive = np.array([r.patient.diagnosis == AML for r in kept], bool)[judged]
    drawn = np.random.default_rng(seed).binomial(n_cells, expert, (N_DRAWS, len(expert))) / n_cells
    areas = [roc_auc(positive, d[judged]) for d in drawn]
    varied = [d for d in drawn if d.std() > 0 and expert.std() > 0]
    return {
        "auroc": _spread(areas),
        "pearson": _spread([float(np.corrcoef(expert, d)[0, 1]) for d in varied]),
        "mae": _spread([float(np.abs(d - expert).mean()) for d in drawn]),
    }


def _spread(values: Sequence[float]) -> Limits:
    known = np.array([v for v in values if math.isfinite(v)])
    if not len(known):
        return Limits(math.nan, math.nan, math.nan)
    return Limits(float(known.mean()), *(float(q) for q in np.quantile(known, (0.025, 0.975))))


def nucleus_threshold(crops: CropSet, areas: np.ndarray, learnt: np.ndarray, composite: str) -> float:
    """The nucleus area (µm²) that tells composite cells from others best (Youden) on labelled cells `learnt` (bool)."""
    rows = learnt & (crops.labels >= 0) & (areas > 0)
    inside = np.isin(crops.labels, crops.taxonomy.columns(crops.taxonomy.composites[composite]))[rows]
    if not len(inside) or inside.all() or not inside.any():
        return math.nan
    # Youden over some hundred candidate areas is as good as over every cell's.
    grid = np.quantile(areas[rows], np.linspace(0, 1, 400))
    rounded = grid[np.clip(np.searchsorted(grid, areas[rows], side="right") - 1, 0, len(grid) - 1)]
    return choose_threshold(inside, rounded)


def nucleus_ratios(crops: CropSet, areas: np.ndarray, folds: np.ndarray, composite: str) -> dict[str, float]:
    """{patient: share of the predicted cells whose nucleus is at least as large as the threshold}.

    folds (N,) of each cell's patient, -1 in validation: development patients are judged by the threshold of the other
    folds, validation patients by that of all; NaN where there is none.
    """
    ratios = {}
    for fold in np.unique(folds):
        least = nucleus_threshold(crops, areas, (folds >= 0) & (folds != fold), composite)
        for key in np.unique(crops.groups[folds == fold]):
            share = float((areas[crops.groups == key] >= least).mean())
            ratios[str(key)] = share if math.isfinite(least) else math.nan
    return ratios


def nucleus_areas(crops: CropSet, outlined: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
    """(N,) nucleus area of each predicted cell: the outlined one (N,), else of the dark part of the cell in its crop.

    um_per_px (N,) of the crop's own pixels. The dark part is what lies above Otsu's threshold of optical density
    within the cell's mask.
    """
    areas = np.asarray(outlined, np.float64).copy()
    for row in np.flatnonzero(areas <= 0):
        cell = crops.extras["masks"][row] > 0
        if cell.sum() < 16:
            continue
        od = optical_density(crops.crops[row][cell]).mean(1)
        areas[row] = (od > _otsu(od)).sum() * um_per_px[row] ** 2
    return areas


def _otsu(values: np.ndarray) -> float:
    """The cut that makes two groups of values as unlike as can be (Otsu, 1979), on 64 bins."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * middles)
    above = total - below
    mean_below = np.divide(sums, below, out=np.zeros(64), where=below > 0)
    mean_above = np.divide(sums[-1] - sums, above, out=np.zeros(64), where=above > 0)
    return float(middles[(below * above * (mean_below - mean_above) ** 2).argmax()])


def detector_counts(
    cohort: Cohort, detector: object, train: Dataset, validation: Dataset, folder: Path, *, resume: bool
) -> np.ndarray:
    """Train a one-stage detector of all classes and count what it finds: (P, C) cells of each patient and class.

    detector     `train.detector_config.DetectorConfig`; it learns on `train` and chooses its weights on `validation`
    The score threshold is chosen on validation fields: the one at which it finds as many cells as the expert did.
    """
    from dataclasses import replace

    from leukoscope.train.detector.predict import detect
    from leukoscope.train.detector.task import train_detector

    both = replace(
        train,
        fields=tuple(replace(f, split="train") for f in train.fields)
        + tuple(replace(f, split="val") for f in validation.fields),
    )
    run = train_detector(detector, [both], folder, resume=resume)
    n_classes = len(cohort.taxonomy.names)
    detections = detect(run, cohort.dataset)
    held = {f.file for f in validation.fields}
    scores = [b.scores for f, b in zip(cohort.dataset.fields, detections, strict=True) if f.file in held]
    wanted = sum(len(f.cells) for f in validation.fields)
    ranked = np.sort(np.concatenate(scores))[::-1]
    threshold = float(ranked[min(wanted, len(ranked)) - 1]) if len(ranked) else 0.5
    counts = {key: np.zeros(n_classes, np.int64) for key in cohort.patients}
    for field, boxes in zip(cohort.dataset.fields, detections, strict=True):
        kept = boxes.class_ids[boxes.scores >= threshold]
        counts[patient_key(field)] += np.bincount(kept, minlength=n_classes)[:n_classes]
    return np.stack([counts[key] for key in cohort.patients])

"""The called ratio put on the line of the development patients: what a called ratio has meant in patients so far.

The confusion matrix corrects what cells do wrong; this corrects what patients showed. The expert's ratio of left-out
development patients is regressed on their called ratio, both as arcsine of the root, on which counting's scatter is
alike everywhere. A new patient's limits are Student's predictive ones, so scatter between patients, cells that were
missed and contours that were none are all in them (regression calibration; Fuller, Measurement Error Models 1987). It
holds for patients like those of the development centres, and says nothing of others.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from leukoscope.experiments.cblc.cohort import DEVELOP
from leukoscope.experiments.cblc.patients import PatientRatio
from leukoscope.intervals import student_t

LEAST_PATIENTS = 5


def calibrated_ratios(ratios: Sequence[PatientRatio], *, level: float = 0.95) -> list[PatientRatio]:
    """The same patients with `corrected`, `low`, `high` from the line; a development patient by the others' line.

    Empty where fewer than LEAST_PATIENTS development patients have both ratios: there is no line.
    """
    known = [r for r in ratios if r.patient.role == DEVELOP and math.isfinite(r.raw) and math.isfinite(r.expert)]
    if len(known) < LEAST_PATIENTS + 1 or len({r.raw for r in known}) < 3:
        return []
    return [_calibrated(r, [k for k in known if k.patient.key != r.patient.key], level) for r in ratios]


def _calibrated(ratio: PatientRatio, others: Sequence[PatientRatio], level: float) -> PatientRatio:
    if not math.isfinite(ratio.raw):
        return replace(ratio, corrected=math.nan, low=0.0, high=1.0, reason="no_cells")
    x, y = (_root(np.array([getattr(o, k) for o in others])) for k in ("raw", "expert"))
    dx, n = x - x.mean(), len(x)
    spread = float(dx @ dx)
    slope = float(dx @ y) / spread
    residual = math.sqrt(float(((y - y.mean() - slope * dx) ** 2).sum()) / (n - 2))
    apart = float(_root(np.array(ratio.raw))) - float(x.mean())
    middle = float(y.mean()) + slope * apart
    half = student_t((1 + level) / 2, n - 2) * residual * math.sqrt(1 + 1 / n + apart**2 / spread)
    value, low, high = (_share(v) for v in (middle, middle - half, middle + half))
    return replace(ratio, corrected=value, low=low, high=high, reason="")


def _root(share: np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(np.clip(share, 0, 1)))


def _share(angle: float) -> float:
    return math.sin(min(max(angle, 0.0), math.pi / 2)) ** 2

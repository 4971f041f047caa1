"""Whether a run has drifted from a reference: by its patients where there are enough, else by its photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.drift.profile import DIGITS, MEASURES, QUANTILES, PatientLook, Profile
from leukoscope.errors import InputError

LEAST_OF_RUN, LEAST_OF_REFERENCE = 5, 8  # patients: fewer can be dealt in too few ways to show anything
ALARM_RATE = 0.01  # of runs that have not drifted, over all measures together
LEAST_EFFECT = 1.0  # standard deviations between the reference's patients: less is real, perhaps, but no matter
LEAST_MIX = 0.15  # of the cells that would have to change class to make the mixes alike
DEALS = 9_999
LOW, HIGH = 1, 99  # per cent of a bundle's photographs, within which a run's median photograph is expected
MIX = "class mix"


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of a run against the reference.

    value, expected  of the run and of the reference: means over patients, or medians of photographs
    low, high        where the run's value is expected; None of the class mix
    effect           standard deviations between the reference's patients, or the share of the cells of a mix; None
                     where a bundle's photographs are all that is known
    p                how often chance alone makes such a difference; None as above
    """

    measure: str
    value: float
    expected: float
    low: float | None
    high: float | None
    effect: float | None
    p: float | None
    drifted: bool


def judge(run: Profile, reference: Profile, *, seed: int = 0) -> tuple[Finding, ...]:
    """Every measure that both know. What depends on the model is left out where the models differ.

    A reference with patients is compared patient by patient: patients are dealt anew into the two groups (a
    permutation test), so the rate of false alarms holds for patients who are exchangeable, whatever their number of
    photographs. A drift must be beyond chance, and large. A bundle's reference knows photographs alone: there the
    run's median photograph must lie among the middle 98 % of them.
    InputError where there are too few patients.
    """
    same_model = run.model == reference.model
    watched = [m.name for m in MEASURES if same_model or not m.by_model]
    if not reference.patients:
        return tuple(f for name in watched if (f := _by_photographs(name, run, reference)) is not None)
    n, k = len(run.patients), len(reference.patients)
    if n < LEAST_OF_RUN or k < LEAST_OF_REFERENCE:
        raise InputError(
            f"{run.name} has {n} patients and {reference.name} {k}: expected at least {LEAST_OF_RUN} and "
            f"{LEAST_OF_REFERENCE} to tell drift from chance; give more runs as one reference, or a model"
        )
    rng = np.random.default_rng(seed)
    level = ALARM_RATE / (len(watched) + same_model)
    findings = [f for name in watched if (f := _by_patients(name, run, reference, level, rng)) is not None]
    return (*findings, *([_mix(run.patients, reference.patients, level, rng)] if same_model else ()))


def pooled(profiles: Sequence[Profile]) -> Profile:
    """Several runs as one reference, each run's photographs with equal weight; those of the last one's model."""
    same = [p for p in profiles if p.model == profiles[-1].model]
    if len(same) == 1:
        return same[0]
    patients = tuple(look for p in same for look in p.patients)
    name = " and ".join(p.name for p in same) if len(same) < 3 else f"{same[0].name} to {same[-1].name}"
    sums = sum(p.n_fields for p in same), sum(p.n_cells for p in same)
    shares, even = sorted(QUANTILES), np.linspace(0, 100, 401)
    fields = {}
    for measure in sorted({m for p in same for m in p.fields}):
        values = np.concatenate([np.interp(even, shares, p.fields[measure]) for p in same if measure in p.fields])
        fields[measure] = [round(float(v), DIGITS) for v in np.percentile(values, shares)]
    return Profile(name, same[-1].model, patients, fields, *sums)


def _by_patients(name: str, run: Profile, reference: Profile, level: float, rng) -> Finding | None:
    values, known = run.values(name), reference.values(name)
    if len(values) < LEAST_OF_RUN or len(known) < LEAST_OF_REFERENCE:
        return None
    spread = float(known.std(ddof=1))
    apart = float(values.mean() - known.mean())
    if apart == 0:
        p, effect = 1.0, 0.0
    else:
        effect = apart / spread if spread > 0 else float(np.sign(apart)) * 99.0
        p = _chance(np.r_[values, known][:, None], len(values), rng)
    wide = LEAST_EFFECT * spread
    drifted = p <= level and abs(effect) >= LEAST_EFFECT
    return Finding(
        name, float(values.mean()), float(known.mean()), float(known.mean()) - wide, float(known.mean()) + wide,
        effect, p, drifted,
    )  # fmt: skip


def _chance(rows: np.ndarray, n: int, rng: np.random.Generator) -> float:
    """How often the means of the first `n` rows (N, M) and of the rest, dealt anew, are as far apart as they are: the
    sum of the absolute differences of the columns."""
    total, left = rows.sum(0), len(rows) - n

    def apart(of_first: np.ndarray) -> np.ndarray:
        return np.abs(of_first / n - (total - of_first) / left).sum(axis=-1)

    seen = apart(rows[:n].sum(0))
    as_far = 0
    for _ in range(0, DEALS, 999):
        order = rng.random((999, len(rows))).argsort(axis=1)[:, :n]
        as_far += int((apart(rows[order].sum(axis=1)) >= seen - 1e-12).sum())
    return (1 + as_far) / (DEALS + 1)


def _mix(run: Sequence[PatientLook], reference: Sequence[PatientLook], level: float, rng) -> Finding:
    current, known = ([p for p in patients if p.n_cells] for patients in (run, reference))
    names = sorted({name for p in (*current, *known) for name in p.mix})
    rows = np.array([[p.mix.get(name, 0.0) for name in names] for p in (*current, *known)]).reshape(-1, len(names))
    if len(current) < LEAST_OF_RUN or len(known) < LEAST_OF_REFERENCE:
        return Finding(MIX, 0.0, 0.0, None, None, 0.0, 1.0, False)
    moved = float(np.abs(rows[: len(current)].mean(0) - rows[len(current) :].mean(0)).sum() / 2)
    p = _chance(rows, len(current), rng)
    return Finding(MIX, moved, 0.0, None, LEAST_MIX, moved, p, p <= level and moved >= LEAST_MIX)


def _by_photographs(name: str, run: Profile, reference: Profile) -> Finding | None:
    if name not in run.fields or name not in reference.fields:
        return None
    shares = sorted(QUANTILES)
    low, middle, high = (reference.fields[name][shares.index(q)] for q in (LOW, 50, HIGH))
    value = run.fields[name][shares.index(50)]
    return Finding(name, value, middle, low, high, None, None, not low <= value <= high)

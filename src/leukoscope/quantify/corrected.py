"""The corrected ratio: adjusted classify-and-count with an interval for sampling and classifier error.

Called shares are a mixture: called = ratio * row of the numerator + (1 - ratio) * row of the other cells, beside what
true artefacts add. Solving for the ratio is the Rogan-Gladen estimator (Am. J. Epidemiol. 1978), in machine learning
"adjusted classify and count" (Forman, DMKD 2008). Sampling and error rates are each drawn from their Jeffreys beta
distribution; the interval is the set of ratios that those draws don't contradict (Fieller's argument), so it is
wide, up to 0 to 1, where the classifier hardly tells the groups apart. docs/ratio.md derives it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Required, TypedDict, Unpack

import numpy as np

from leukoscope.errors import DataError
from leukoscope.quantify.bayesian import bayesian_limits
from leukoscope.quantify.beta import even_shares
from leukoscope.quantify.draws import RateDraws
from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED, GroupRates, group_rates, groups_of, mix_of
from leukoscope.quantify.scatter import Scatter, default_scatter, scatter_of

METHODS = ("adjusted", "bayesian")

# Why there is no corrected value, or what to doubt of it.
NO_CELLS = "no_cells"
NO_SENSITIVITY = "numerator_not_validated"
NO_SPECIFICITY = "others_not_validated"
USELESS = "classifier_cannot_tell"
MISFIT = "calls_do_not_fit"
UNSEEN = "class_not_validated"
UNIDENTIFIED = "unidentified_not_validated"
LEAST_UNSEEN = 0.005  # the prior alone gives every class some share
MOST_UNSEEN = 0.10  # share of the patient's cells in classes without validation cells up to which a value is given


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """How often cells of one true group are called the numerator, of those called anything that is counted.

    n_called, n_cells  validation cells (with the centre's labelled ones), as counted
    value, low, high   the rate for this patient's mix of cells, on average, and the limits of a patient's own; NaN, 0
                       and 1 where no cell was validated
    """

    n_called: int
    n_cells: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CorrectedRatio:
    """A ratio with the classifier's errors taken out, as far as its validation tells them; all in [0, 1].

    numerator, denominator  called cells; `raw` is their share (NaN where nothing was counted)
    value         corrected share; NaN where it can't be had, and `reason` says why
    low, high     cover sampling and classifier error at `level`; 0 and 1 where nothing is known
    sensitivity   of the numerator's cells; false_alarm: of the other counted cells
    unseen        share of the patient's counted cells whose class was never validated: of their error rates nothing is
                  known, which widens the interval
    worth         cells that would say as much if no error rate were in doubt; NaN where there is no value
    scatter_sd    standard deviation of the false alarms' logit between patients that was reckoned with (median)
    n_patients    validation patients that it was learnt from; 0: none are told, a default was taken
    reason        None, or a code. No value: "no_cells", "numerator_not_validated", "others_not_validated",
                  "unidentified_not_validated" (cells were not identified, and validation does not say how many of each
                  class are not); no value, but limits: "classifier_cannot_tell" (sensitivity not above the false
                  alarms), "class_not_validated" (`unseen` above MOST_UNSEEN). A value at the edge:
                  "calls_do_not_fit" (fewer called than false alarms alone, or more than there can be: the classifier
                  seems to work otherwise here than in validation)
    """

    numerator: int
    denominator: int
    value: float
    low: float
    high: float
    level: float
    method: str
    sensitivity: ErrorRate
    false_alarm: ErrorRate
    unseen: float
    reason: str | None
    worth: float = math.nan
    scatter_sd: float = 0.0
    n_patients: int = 0

    @property
    def raw(self) -> float:
        return self.numerator / self.denominator if self.denominator else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a patient's calls and the classifier's validation say together; `weigh` makes it.

    called  the patient's cells called the numerator, called other counted classes, called uncounted
    groups, mix  (C,) group of each class, and its share among the patient's cells as estimated
    rates   error rates of the three true groups in validation; of_centre: in the centre's labelled cells, or None
    draws   draws of both together, for a patient who is not of the validation's
    ends    the same with the lowest and the highest rate of classes that were never validated; () without such cells
    scatter how much the rates differ between patients
    withheld  a reason why no value may be given, whatever the numbers say; None: none
    """

    counts: np.ndarray
    confusion: np.ndarray
    local: np.ndarray | None
    groups: np.ndarray
    mix: np.ndarray
    called: tuple[int, int, int]
    rates: tuple[GroupRates, ...]
    of_centre: tuple[GroupRates, ...] | None
    draws: RateDraws
    scatter: Scatter
    ends: tuple[RateDraws, ...] = ()
    withheld: str | None = None

    def limits(self, called: Sequence[float], *, level: float) -> tuple[float, float, float, bool]:
        """(value, low, high, misfit) as `RateDraws.limits`, wider where nothing is known of some class's rates."""
        value, low, high, misfit = self.draws.limits(called, level=level)
        for draws in self.ends:
            _, lower, higher, _ = draws.limits(called, level=level)
            low, high = min(low, lower), max(high, higher)
        return value, low, high, misfit


class Sides(TypedDict, total=False):
    """What a ratio is of, and what is known of the classifier beside its confusion matrix; see `correct_ratio`."""

    subset: Required[Sequence[int]]
    counted: Sequence[int] | None
    local: Sequence[Sequence[int]] | np.ndarray | None
    scatter: Scatter | np.ndarray | None


def weigh(
    counts: Sequence[int] | np.ndarray,
    confusion: Sequence[Sequence[int]] | np.ndarray,
    *,
    subset: Sequence[int],
    counted: Sequence[int] | None = None,
    local: Sequence[Sequence[int]] | np.ndarray | None = None,
    scatter: Scatter | np.ndarray | None = None,
) -> Evidence:
    """The evidence for one ratio of one patient; arguments and errors as in `correct_ratio`."""
    counts, confusion, local = _checked(counts, confusion, local)
    groups = groups_of(len(counts), subset, counted)
    together = confusion if local is None else confusion + local
    mix, known = mix_of(counts, together), together.sum(1)
    rates = group_rates(confusion, groups, mix, known=known)
    of_centre = None if local is None else group_rates(local, groups, mix, known=known)
    if scatter is None:
        scatter = default_scatter()
    elif not isinstance(scatter, Scatter):
        scatter = scatter_of(scatter, groups)
    called = [int(counts[groups == g].sum()) for g in range(3)]
    draws = functools.partial(RateDraws.of, rates, of_centre, scatter=scatter, losses=UNCOUNTED in groups)
    blind = max(rates[NUMERATOR].unseen, rates[OTHER].unseen) >= LEAST_UNSEEN
    return Evidence(
        counts,
        confusion,
        local,
        groups,
        mix,
        (called[0], called[1], called[2]),
        rates,
        of_centre,
        draws(),
        scatter,
        tuple(draws(unseen_rate=end) for end in (0.0, 1.0)) if blind else (),
    )


def correct_ratio(
    counts: Sequence[int] | np.ndarray,
    confusion: Sequence[Sequence[int]] | np.ndarray,
    *,
    level: float = 0.95,
    method: str = "adjusted",
    **sides: Unpack[Sides],
) -> CorrectedRatio:
    """The share of `subset` among the counted cells of one patient, corrected for the classifier's errors.

    counts     (C,) cells by called class, artefacts included
    confusion  (C, C) validation cells, rows truth, columns called
    subset     columns of the numerator; counted: columns of the denominator (None: every class)
    local      (C, C) labelled cells of this patient's own centre, or None: they correct what validation elsewhere
               says, the more of them there are and the less they agree with it (quantify/centre.py)
    scatter    validation cells by patient (P, C, C), which tell how much error rates differ between patients, or a
               `Scatter`; None: not known, and the default is taken (quantify/scatter.py)
    method     "adjusted" (what `analyze` uses) or "bayesian" (Gibbs sampling over the full matrix; slower, and for
               patients who all have the validation's error rates)
    The same input gives the same numbers. Classes in neither subset nor `counted` never enter the denominator.
    DataError for tables that don't fit each other.
    """
    return ratio_of(weigh(counts, confusion, **sides), level=level, method=method)


def ratio_of(evidence: Evidence, *, level: float = 0.95, method: str = "adjusted") -> CorrectedRatio:
    """The corrected ratio of evidence that was weighed before."""
    if method not in METHODS or not 0 < level < 1:
        expected = f"method {' or '.join(METHODS)} and 0 < level < 1"
        raise DataError(f"a corrected ratio needs {expected}, got {method} and {level}")
    called, draws, groups = evidence.called, evidence.draws, evidence.groups
    sensitivity, false_alarm = (_error_rate(evidence, g, level) for g in (NUMERATOR, OTHER))
    value, low, high = math.nan, 0.0, 1.0
    unseen, worth = _unseen(evidence), math.nan
    reason = _unknown(called, sensitivity, false_alarm) or evidence.withheld
    if reason is None:
        value, low, high, misfit = evidence.limits(called, level=level)
        useless = draws.reversed_share() > (1 - level) / 2
        reason = USELESS if useless else UNSEEN if unseen > MOST_UNSEEN else MISFIT if misfit else None
        if method == "bayesian":
            value, low, high = bayesian_limits(
                evidence.counts, evidence.confusion, groups, local=evidence.local, level=level
            )
        if reason in (USELESS, UNSEEN):
            value = math.nan
        else:
            worth = draws.worth(called, value)
    return CorrectedRatio(
        numerator=called[NUMERATOR],
        denominator=called[NUMERATOR] + called[OTHER],
        value=value,
        low=low,
        high=high,
        level=level,
        method=method,
        sensitivity=sensitivity,
        false_alarm=false_alarm,
        unseen=unseen,
        reason=reason,
        worth=worth,
        scatter_sd=evidence.scatter.typical_sd,
        n_patients=evidence.scatter.n_patients,
    )


def _checked(counts, confusion, local) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The tables as int64 arrays; DataError where they don't fit or hold a negative number."""
    counts, confusion = np.asarray(counts), np.asarray(confusion)
    tables = [("confusion", confusion)] + ([] if local is None else [("local", np.asarray(local))])
    for name, table in tables:
        if table.shape != (len(counts), len(counts)):
            raise DataError(f"{len(counts)} counts need a {name} table of {len(counts)} squared, got {table.shape}")
    for name, table in (("counts", counts), *tables):
        if not np.issubdtype(table.dtype, np.integer) or (table < 0).any():
            raise DataError(f"{name} must be whole numbers of cells, 0 or more")
    return counts.astype(np.int64), confusion.astype(np.int64), None if local is None else tables[1][1].astype(np.int64)


def _unknown(called: Sequence[int], sensitivity: ErrorRate, false_alarm: ErrorRate) -> str | None:
    if called[NUMERATOR] + called[OTHER] == 0:
        return NO_CELLS
    if sensitivity.n_cells == 0:
        return NO_SENSITIVITY
    return NO_SPECIFICITY if false_alarm.n_cells == 0 else None


def _error_rate(evidence: Evidence, group: int, level: float) -> ErrorRate:
    tables = [evidence.rates[group]] + ([evidence.of_centre[group]] if evidence.of_centre else [])
    n_cells = sum(t.n_cells - t.n_uncounted for t in tables)
    if n_cells == 0:
        return ErrorRate(0, 0, math.nan, 0.0, 1.0)
    rate = np.sort(evidence.draws.called[group])
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], even_shares(len(rate)), rate)
    value = float(evidence.draws.average[group])
    return ErrorRate(sum(t.n_numerator for t in tables), n_cells, value, float(low), float(high))


def _unseen(evidence: Evidence) -> float:
    """Share of the patient's counted cells, as estimated, whose class has no labelled cell."""
    known = evidence.confusion.sum(1) + (0 if evidence.local is None else evidence.local.sum(1))
    counted = evidence.groups != UNCOUNTED
    return float(evidence.mix[counted & (known == 0)].sum() / evidence.mix[counted].sum())

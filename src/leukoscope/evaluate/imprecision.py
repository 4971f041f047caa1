"""How far repeated counts of one patient scatter beyond what counting cells alone must: the imprecision of a method.

Repeats are of one kind each (the same photographs, other photographs, another slide, another reader). Binomial scatter
of n cells is the least there can be; what is more comes from the method, and makes n cells worth fewer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import InputError
from leukoscope.evaluate.counts import CountTable, counted_classes
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.intervals import Limits


@dataclass(frozen=True, slots=True)
class Imprecision:
    """Scatter of one class's share between repeats of one kind.

    n_patients, n_repeats  patients with two repeats or more, and their repeats
    mean_cells, share      cells of a repeat, and the class's share, on average
    deviation              pooled standard deviation between repeats of a patient
    ratio                  deviation over the binomial one, with limits by patients; 1: counting alone
    scatter                standard deviation beyond the binomial one, 0 where there is none
    effective_cells        how many cells counted at random would scatter so; NaN where nothing scattered
    """

    condition: str
    class_name: str
    n_patients: int
    n_repeats: int
    mean_cells: float
    share: float
    deviation: float
    ratio: Limits
    scatter: float
    effective_cells: float


def imprecision(table: CountTable, specimen: str) -> list[Imprecision]:
    """By condition and class, in the table's order; InputError where no patient was counted twice under any."""
    names = table.classes
    inside = [names.index(c) for c in counted_classes(names, specimen)]
    totals = table.counts[:, inside].sum(1)
    none = sorted({p for p, n in zip(table.patients, totals.tolist(), strict=True) if not n})
    if none:
        raise InputError(f"{table.name}: no cell of the {specimen} differential was counted for {', '.join(none)}")
    results = []
    for condition in dict.fromkeys(table.conditions):
        rows = _repeated(table, condition)
        for column in inside if rows else ():
            results.append(_scatter(condition, names[column], [table.counts[r, column] for r in rows],
                                  [totals[r] for r in rows]))  # fmt: skip
    if not results:
        raise InputError(f"{table.name}: no patient has two counts under one condition: nothing was repeated")
    return [x for x in results if x.share > 0]


def _repeated(table: CountTable, condition: str) -> list[np.ndarray]:
    """Rows of each patient that was counted twice or more under the condition."""
    by_patient: dict[str, list[int]] = {}
    for row, (patient, conditions) in enumerate(zip(table.patients, table.conditions, strict=True)):
        if conditions == condition:
            by_patient.setdefault(patient, []).append(row)
    return [np.array(rows) for rows in by_patient.values() if len(rows) > 1]


def _scatter(condition: str, name: str, counts: Sequence[np.ndarray], totals: Sequence[np.ndarray]) -> Imprecision:
    squares, freedom = np.zeros(len(counts)), np.zeros(len(counts))
    binomial = np.zeros(len(counts))
    for i, (k, n) in enumerate(zip(counts, totals, strict=True)):
        pooled, cells = k.sum() / n.sum(), n.sum()
        squares[i] = float(((k / n - (k / n).mean()) ** 2).sum())
        freedom[i] = len(k) - 1
        # p (1 - p) from all the patient's cells, without the bias of estimating p from them.
        binomial[i] = freedom[i] * pooled * (1 - pooled) * cells / max(cells - 1, 1) * float((1 / n).mean())

    def ratio(rows: np.ndarray) -> float:
        chance = binomial[rows].sum()
        return math.sqrt(squares[rows].sum() / chance) if chance > 0 else math.nan

    rows = np.arange(len(counts))
    value = ratio(rows)
    low, high = clustered_limits(ratio, rows, within=(0.0, math.inf))
    variance, chance = squares.sum() / freedom.sum(), binomial.sum() / freedom.sum()
    mean_cells = float(np.concatenate(totals).mean())
    return Imprecision(
        condition=condition,
        class_name=name,
        n_patients=len(counts),
        n_repeats=sum(map(len, counts)),
        mean_cells=mean_cells,
        share=float(np.concatenate(counts).sum() / np.concatenate(totals).sum()),
        deviation=math.sqrt(variance),
        ratio=Limits(value, low, high),
        scatter=math.sqrt(max(0.0, variance - chance)),
        effective_cells=mean_cells / value**2 if value > 0 else math.nan,
    )

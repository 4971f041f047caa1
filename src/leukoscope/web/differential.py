"""A patient's numbers before and after review, and two readers' agreement: all by the library's own functions."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np

from leukoscope.count import count
from leukoscope.evaluate.classes import cohen_kappa, confusion_matrix
from leukoscope.evaluate.two_counts import second_count_limits
from leukoscope.flags import APL, Knowledge, flags
from leukoscope.intervals import clopper_pearson
from leukoscope.pipeline.ratios import Correction, number, ratio_entries
from leukoscope.types import Calls, Differential
from leukoscope.web.cells import PatientCells, as_called, as_read
from leukoscope.web.store.closing import Pair
from leukoscope.web.store.projection import CellState
from leukoscope.web.store.readings import NOT_A_CELL


def counted(cells: PatientCells, calls: Calls, *, unidentified: int = 0) -> Differential:
    """The patient's differential over all fields that were read; `unidentified` cells more are in no class."""
    n_fields = sum(field.status != "failed" for field in cells.fields)
    differential = count([calls])
    return replace(differential, n_fields=n_fields, n_unidentified=differential.n_unidentified + unidentified)


@lru_cache(64)  # what the model called never changes
def _before(cells: PatientCells) -> tuple[Differential, list[dict]]:
    """The model's own differential and ratios."""
    differential = counted(cells, as_called(cells))
    return differential, ratio_entries(differential, Correction(), min_cells=_min_cells(cells))


def _min_cells(cells: PatientCells) -> int:
    return json.loads(cells.run.provenance)["min_cells"]


def numbers(cells: PatientCells, calls: dict[int, str], *, hidden: bool = False) -> dict:
    """What a page shows of a patient as read, in the record's own words.

    calls   cell id -> what a reader called it (`projection.calls_of`)
    hidden  the model's calls are hidden: only cells that a reader called are counted, and `before` says nothing
    Returns differential (a row a class: class, before, count, share), ratios (the record's entries, after review),
    before (the same of the model alone), flags (the record's, after review), n_cells, n_counted, unidentified.
    """
    read, unidentified = as_read(cells, calls, only_called=hidden)
    (before, ratios_before), after = _before(cells), counted(cells, read, unidentified=unidentified)
    taxonomy, n, min_cells = cells.taxonomy, after.n_counted, _min_cells(cells)
    inside = taxonomy.denominator(cells.patient.specimen)
    statuses = [field.status for field in cells.fields]
    return {
        "differential": [
            {
                "class": name,
                "before": None if hidden else int(was),
                "count": int(now),
                "share": number(int(now) / n) if n and name in inside else None,
            }
            for name, was, now in zip(taxonomy.names, before.counts, after.counts, strict=True)
        ],
        "ratios": ratio_entries(after, Correction(), min_cells=min_cells),
        "before": [] if hidden else ratios_before,
        "flags": flags(
            after,
            min_cells=min_cells,
            n_failed=statuses.count("failed"),
            n_poor=statuses.count("poor"),
            # A reader who called APL promyelocytes knows them: the flag is then no longer the model's guess.
            knowledge=Knowledge(apl_cells=sum(call == APL for call in calls.values())),
        ),
        "n_cells": after.n_found,
        "n_counted": n,
        "unidentified": after.n_unidentified,
    }


def agreement(pairs: list[Pair], names: tuple[str, ...]) -> dict:
    """Two readers' calls side by side, of the cells that both saw.

    labels, table  calls that occur, and the (L, L) counts first x second; a cell that a reader lacks is "not_a_cell"
    n, same, kappa; unseen: cells left out, for one or both did not see them; differ: of all cells, those to be decided
    classes        for each class the counts of both and of both together, the share of agreement on it (twice both over
                   the sum of the two counts), and Rümke's band for two counts: fewest and most cells of a second count
                   of as many that agree with the first by chance
    """
    calls = [(p.first or NOT_A_CELL, p.second or NOT_A_CELL) for p in pairs if p.seen]
    occurring = {call for pair in calls for call in pair}
    labels = [name for name in (*names, "unidentified", NOT_A_CELL) if name in occurring]
    column = {name: column for column, name in enumerate(labels)}
    sides = np.array([[column[a], column[b]] for a, b in calls], np.int64).reshape(-1, 2)
    table = confusion_matrix(sides[:, 0], sides[:, 1], n_classes=len(labels))
    kappa = cohen_kappa(table) if len(calls) else float("nan")
    return {
        "labels": labels,
        "table": table.tolist(),
        "n": len(calls),
        "unseen": len(pairs) - len(calls),
        "differ": sum(p.first != p.second for p in pairs),
        "same": int(np.trace(table)),
        "kappa": None if np.isnan(kappa) else kappa,
        "classes": [_class_agreement(name, table, column) for column, name in enumerate(labels) if name in names],
    }


def _class_agreement(name: str, table: np.ndarray, column: int) -> dict:
    first, second, both = (int(v) for v in (table[column].sum(), table[:, column].sum(), table[column, column]))
    n = int(table.sum())
    low, high = second_count_limits(first, n, n)
    of_both = {"first": first, "second": second, "both": both, "agreement": 2 * both / (first + second)}
    return {"class": name} | of_both | {"low": low, "high": high, "within": low <= second <= high}


def agreement_with_model(cells: PatientCells, stood: dict[int, CellState]) -> dict:
    """How often readers kept the model's call, among the cells that they saw: apart for calls shown and hidden."""
    out = {}
    for mode in ("shown", "hidden"):
        rows = [
            (cells.model_call(row), state.call)
            for cell, state in stood.items()
            if state.seen and state.hidden == (mode == "hidden") and (row := cells.row_of(cell)) is not None
        ]
        kept = sum(call is None or call == model for model, call in rows)
        low, high = clopper_pearson(kept, len(rows))
        out[mode] = {"n": len(rows), "kept": kept, "low": number(low), "high": number(high)}
    return out

"""From a finished journal to `record.json` (docs/record.md), one photograph in memory at a time."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from leukoscope.count import (
    COUNTED,
    LEUKOCYTES,
    NUCLEATED,
    add,
    artefacts_per_100,
    cells_of,
    count,
    count_tier,
    no_cells,
    nucleated_red_per_100,
    roles_of,
)
from leukoscope.entries import ClassRow, FieldEntry, PatientEntry
from leukoscope.files import write_whole
from leukoscope.flags import Knowledge, flags
from leukoscope.pipeline.ratios import DIGITS, Correction, ratio_entries
from leukoscope.pipeline.repeats import repeat_flags
from leukoscope.report import RECORD_VERSION, counted_cells
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Cells, Differential, FieldKey, is_identified


@dataclass(slots=True)
class _Patient:
    """What is summed up over a patient's photographs."""

    differential: Differential
    centers: set[str] = field(default_factory=set)
    smear_ids: set[str] = field(default_factory=set)
    n_failed: int = 0
    n_poor: int = 0
    n_unsure: int = 0
    repeated: Counter = field(default_factory=Counter)  # what was seen twice, by kind


def write_record(
    path: str | Path,
    journal_fields,
    *,
    provenance: dict,
    taxonomy: Taxonomy,
    correction: Correction | None = None,
    knowledge: Knowledge | None = None,
    stated: dict[str, dict] | None = None,
    slides: Sequence[dict] = (),
) -> None:
    """Write the record of a run; `journal_fields()` gives its entries and is called twice.

    correction  what the classifier's card says of its errors; None: nothing, and no ratio is corrected
    knowledge   what it says of what the model can know; None: nothing
    stated      patient id -> what the patients table says of that patient
    slides      what is said of each slide (`pipeline.slides.SlidePlan`)
    The bytes depend on the arguments alone. The file appears whole or not at all.
    """
    knowledge = knowledge or Knowledge()
    patients = summarise(
        journal_fields(),
        taxonomy,
        specimen=provenance["specimen"],
        min_cells=provenance["min_cells"],
        correction=correction,
        knowledge=knowledge,
    )
    stated = stated or {}
    patients = (p | ({"stated": stated[p["patient_id"]]} if p["patient_id"] in stated else {}) for p in patients)
    fields = (json.dumps(_with_identified(entry, knowledge.least_prob)) for entry in journal_fields())
    with write_whole(path, encoding="ascii", newline="\n") as out:
        out.write(f'{{\n "record_version": {RECORD_VERSION},\n "provenance": {_indented(provenance, 1)},\n')
        _write_list(out, "patients", (_indented(patient, 2) for patient in patients))
        if slides:
            _write_list(out, "slides", (_indented(slide, 2) for slide in slides))
        _write_list(out, "fields", fields, end="\n}\n")


def _indented(value: dict, depth: int) -> str:
    """JSON with a line an entry, as it stands `depth` levels within the record."""
    return json.dumps(value, indent=1).replace("\n", "\n" + depth * " ")  # a text has no line end of its own in JSON


def _write_list(out: IO[str], name: str, items: Iterable[str], *, end: str = ",\n") -> None:
    """A member of the record, one item in memory at a time."""
    out.write(f' "{name}": [')
    for number, item in enumerate(items):
        out.write((",\n  " if number else "\n  ") + item)
    out.write("\n ]" + end)


def _with_identified(entry: FieldEntry, least_prob: float) -> FieldEntry:
    """A field of the journal as the record has it: each cell says whether it counts as its class."""
    known = is_identified([list(c["probs"].values()) for c in entry["cells"]] or np.zeros((0, 1)), least_prob)
    cells = [c | {"identified": bool(k)} for c, k in zip(entry["cells"], known, strict=True)]
    return entry | {"cells": cells}


def summarise(
    entries: Iterable[FieldEntry],
    taxonomy: Taxonomy,
    *,
    specimen: str,
    min_cells: int,
    correction: Correction | None = None,
    knowledge: Knowledge | None = None,
) -> Iterator[PatientEntry]:
    """The record's patients, sorted by id, one at a time. Poor fields count; failed ones are only listed."""
    knowledge = knowledge or Knowledge()
    unsure_below = 0.0 if knowledge.likeness is None else knowledge.likeness.below
    patients: dict[str, _Patient] = {}
    for entry in entries:
        patient_id = entry["patient_id"]
        patient = patients.setdefault(patient_id, _Patient(no_cells(patient_id, specimen, taxonomy)))
        patient.centers.add(entry["center"])
        patient.smear_ids.add(entry["smear_id"])
        if entry["status"] == "failed":
            patient.n_failed += 1
            continue
        patient.n_poor += entry["status"] == "poor"
        patient.repeated.update(_repeated(entry))
        calls = _calls(entry, taxonomy, specimen, knowledge.least_prob)
        patient.n_unsure += int((~is_identified(calls.probs, unsure_below)).sum())
        patient.differential = add(patient.differential, count([calls]))
    correction = correction or Correction()
    for patient_id in sorted(patients):
        yield _patient_entry(patients[patient_id], min_cells, correction, knowledge)


def _calls(entry: FieldEntry, taxonomy: Taxonomy, specimen: str, least_prob: float) -> Calls:
    """The cells of a record's field that count, as the noun they were written from."""
    key = FieldKey(entry["file"], entry["smear_id"], entry["patient_id"], entry["center"], specimen)
    counted = counted_cells(entry)
    cells = Cells(key, [c["box"] for c in counted], [c["score"] for c in counted])
    probs = [[c["probs"][name] for name in taxonomy.names] for c in counted]
    return Calls(cells, probs, taxonomy, least_prob=least_prob)


def _patient_entry(patient: _Patient, min_cells: int, correction: Correction, knowledge: Knowledge) -> PatientEntry:
    differential, repeated = patient.differential, patient.repeated
    seen_twice = {"n_repeated": repeated["fields"], "n_same_cells": repeated["cells"]} if repeated.total() else {}
    return {
        "patient_id": differential.patient_id,
        "specimen": differential.specimen,
        "center": sorted(patient.centers),
        "smear_ids": sorted(patient.smear_ids),
        "n_fields": differential.n_fields + patient.n_failed,
        "n_failed": patient.n_failed,
        "n_poor": patient.n_poor,
        **seen_twice,
        "n_cells": differential.n_found,
        "denominator": LEUKOCYTES if differential.specimen == "blood" else NUCLEATED,
        "n_counted": differential.n_counted,
        "count_tier": count_tier(differential.specimen, differential.n_counted),
        "n_nucleated_red": cells_of(differential, differential.taxonomy.nucleated_red),
        "nucleated_red_per_100": _rounded(nucleated_red_per_100(differential)),
        "n_unidentified": differential.n_unidentified,
        "differential": _differential_rows(differential),
        "ratios": ratio_entries(differential, correction, min_cells=min_cells),
        "artefacts_per_100": _rounded(artefacts_per_100(differential)),
        "flags": flags(
            differential,
            min_cells=min_cells,
            n_failed=patient.n_failed,
            n_poor=patient.n_poor,
            n_unsure=patient.n_unsure,
            knowledge=knowledge,
        )
        + repeat_flags(repeated),
    }


def _repeated(entry: FieldEntry) -> dict[str, int]:
    """What a field says of having been seen twice."""
    return {
        "fields": int("repeats" in entry),
        # What two regions of a slide see at their border is no finding, only bookkeeping.
        "cells": sum("same_as" in c and "border" not in c["same_as"] for c in entry["cells"]),
        "perhaps": int(any(not o["proven"] for o in entry.get("overlaps", ()))),
        "shared": int("also_of" in entry),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _differential_rows(differential: Differential) -> list[ClassRow]:
    """One row a class, in the taxonomy's order; `share` is of the denominator, null for what is not in it."""
    n, roles = differential.n_counted, roles_of(differential.taxonomy, differential.specimen)
    return [
        {
            "class": name,
            "count": int(number),
            "expected": round(float(expected), DIGITS),
            "share": round(int(number) / n, DIGITS) if n and roles[name] == COUNTED else None,
            "role": roles[name],
        }
        for name, number, expected in zip(
            differential.taxonomy.names, differential.counts, differential.expected, strict=True
        )
    ]

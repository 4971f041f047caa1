"""From a finished journal to `record.json` (docs/record.md), one photograph in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.count import add, artefacts_per_100, count, flags, no_cells
from leukoscope.pipeline.ratios import DIGITS, Correction, ratio_entries
from leukoscope.report import RECORD_VERSION
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Cells, Differential, FieldKey


@dataclass(slots=True)
class _Patient:
    """What is summed up over a patient's photographs."""

    differential: Differential
    centers: set[str] = field(default_factory=set)
    smear_ids: set[str] = field(default_factory=set)
    n_failed: int = 0
    n_poor: int = 0


def write_record(
    path: str | Path, journal_fields, *, provenance: dict, taxonomy: Taxonomy, correction: Correction | None = None
) -> None:
    """Write the record of a run; `journal_fields()` gives its entries and is called twice.

    correction  what the classifier's card says of its errors; None: nothing, and no ratio is corrected
    The bytes depend on the arguments alone. The file appears whole or not at all.
    """
    path = Path(path)
    head = {
        "record_version": RECORD_VERSION,
        "provenance": provenance,
        "patients": summarise(
            journal_fields(),
            taxonomy,
            specimen=provenance["specimen"],
            min_cells=provenance["min_cells"],
            correction=correction,
        ),
    }
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", encoding="ascii", newline="\n") as out:
        out.write(json.dumps(head, indent=1)[:-2] + ',\n "fields": [')
        for number, entry in enumerate(journal_fields()):
            out.write(",\n  " if number else "\n  ")
            out.write(json.dumps(entry))
        out.write("\n ]\n}\n")
    partial.replace(path)


def summarise(
    entries: Iterable[dict], taxonomy: Taxonomy, *, specimen: str, min_cells: int, correction: Correction | None = None
) -> list[dict]:
    """The record's patients, sorted by id. Poor fields count; failed ones are only listed."""
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
        patient.differential = add(patient.differential, count([_calls(entry, taxonomy, specimen)]))
    correction = correction or Correction()
    return [_patient_entry(patients[patient_id], min_cells, correction) for patient_id in sorted(patients)]


def _calls(entry: dict, taxonomy: Taxonomy, specimen: str) -> Calls:
    """A record's field as the noun it was written from."""
    key = FieldKey(entry["file"], entry["smear_id"], entry["patient_id"], entry["center"], specimen)
    cells = Cells(key, [c["box"] for c in entry["cells"]], [c["score"] for c in entry["cells"]])
    return Calls(cells, [[c["probs"][name] for name in taxonomy.names] for c in entry["cells"]], taxonomy)


def _patient_entry(patient: _Patient, min_cells: int, correction: Correction) -> dict:
    differential = patient.differential
    per_100 = artefacts_per_100(differential)
    return {
        "patient_id": differential.patient_id,
        "specimen": differential.specimen,
        "center": sorted(patient.centers),
        "smear_ids": sorted(patient.smear_ids),
        "n_fields": differential.n_fields + patient.n_failed,
        "n_failed": patient.n_failed,
        "n_poor": patient.n_poor,
        "n_cells": int(differential.counts.sum()),
        "n_counted": differential.n_counted,
        "differential": _differential_rows(differential),
        "ratios": ratio_entries(differential, correction),
        "artefacts_per_100": None if per_100 is None else round(per_100, DIGITS),
        "flags": flags(differential, min_cells=min_cells, n_failed=patient.n_failed, n_poor=patient.n_poor),
    }


def _differential_rows(differential: Differential) -> list[dict]:
    """One row a class, in the taxonomy's order; `share` is of the counted cells, null for what is not counted."""
    n = differential.n_counted
    return [
        {
            "class": name,
            "count": int(number),
            "expected": round(float(expected), DIGITS),
            "share": round(int(number) / n, DIGITS) if n and name in differential.taxonomy.counted else None,
        }
        for name, number, expected in zip(
            differential.taxonomy.names, differential.counts, differential.expected, strict=True
        )
    ]

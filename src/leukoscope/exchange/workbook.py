"""The differential as a workbook: one of a run, one of a signed record."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.findings import Findings
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.sheets import write_workbook
from leukoscope.exchange.source import Source
from leukoscope.files import write_whole
from leukoscope.report.words import (
    USE,
    band_words,
    class_words,
    flag_words,
    no_band_words,
    none_seen_words,
    ratio_words,
)

CELL_COLUMNS = ("cell", "file", "x0", "y0", "x1", "y1", "model", "class", "call", "reader", "seen", "hidden")
_PATIENT = ("patient", "specimen", "smears", "centres", "cells found", "counted", "of", "not identified",
            "nucleated red cells per 100 leukocytes", "artefacts per 100 counted cells", "flags")  # fmt: skip
_CLASS = ("patient", "class", "cells", "share", "role")
_RATIO = ("patient", "ratio", "of", "cells", "denominator", "share", "lower", "upper", "level", "method", "covers",
          "corrected", "corrected lower", "corrected upper", "band", "why no band", "none seen")  # fmt: skip
_FLAG = ("patient", "flag", "text")


def write_xlsx(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write a workbook of the record's patients, or of a signed record, whole or not at all."""
    if source.signed is not None:
        name = names.of(source.signed["patient_id"], "patient") + ".xlsx"
        with write_whole(out / name, "wb") as file:
            file.write(signed_workbook(source.signed))
        yield Written(name, (source.signed["patient_id"],))
        return
    findings = list(source.findings())
    name = names.of("differential", "differential") + ".xlsx"
    sheets = (
        ("About", _about(findings)),
        ("Patients", [_PATIENT, *map(_patient_row, findings)]),
        ("Differential", [_CLASS, *(row for f in findings for row in _class_rows(f))]),
        ("Ratios", [_RATIO, *(row for f in findings for row in _ratio_rows(f))]),
        ("Flags", [_FLAG, *([f.patient_id, flag["code"], flag_words(flag)] for f in findings for flag in f.flags)]),
    )
    with write_whole(out / name, "wb") as file:
        write_workbook(file, sheets)
    yield Written(name, tuple(f.patient_id for f in findings))


def signed_workbook(signed: dict) -> bytes:
    """XLSX of a signed record with the sheets Summary, Differential and Cells."""
    rows = signed["numbers"]["differential"]
    out = io.BytesIO()
    sheets = (
        ("Summary", [("Use", USE), *summary_rows(signed)]),
        ("Differential", [("class", "model", "read", "share"),
                          *((r["class"], r["before"], r["count"], r["share"]) for r in rows)]),
        ("Cells", [CELL_COLUMNS, *map(signed_cell, signed["cells"])]),
    )  # fmt: skip
    write_workbook(out, sheets)
    return out.getvalue()


def signed_cell(cell: dict) -> list:
    """CELL_COLUMNS of one cell of a signed record; blanks where nobody called it."""
    flags = [int(cell["seen"]), int(cell["hidden"])]
    named = [cell[k] if cell[k] is not None else "" for k in ("model", "class", "call", "reader")]
    return [cell["cell"], cell["file"], *cell["box"], *named, *flags]


def summary_rows(signed: dict) -> list[tuple[str, str]]:
    """What heads every download of a signed record: names and values as text."""
    numbers, who = signed["numbers"], signed["signed"]
    active = sum(r["active_ms"] for r in signed["readings"]) / 1000
    rows = [
        ("Patient", signed["patient_id"]),
        ("Specimen", signed["specimen"]),
        ("Smears", ", ".join(signed["smear_ids"])),
        ("Version", str(signed["version"])),
        ("Signed by", who["by"]),
        ("Signed at", when(who["at"])),
        ("Read by", ", ".join(f"{r['reader']} ({r['kind']})" for r in signed["readings"])),
        ("Active reading", f"{active:.0f} s"),
        ("Cells counted", str(numbers["n_counted"])),
        ("Unidentified", str(numbers["unidentified"])),
    ]
    rows += [(class_words(r["name"]), ratio_words(r)) for r in numbers["ratios"]]
    rows += [("None seen", words) for r in numbers["ratios"] if (words := none_seen_words(r))]
    rows += [("Note", flag["text"]) for flag in numbers["flags"]]
    return rows + [("Remark", f"{note['text']} ({note['reader']})") for note in signed.get("notes", ())]


def when(ms: int | None) -> str:
    """2026-11-26 14:05:09 UTC."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _about(every: list[Findings]) -> Iterable[tuple]:
    yield "Use", USE
    yield "Shares", 'in [0, 1], of the cells that the column "of" names'
    for findings in every[:1]:
        yield "Leukoscope", findings.version
        yield from (("Model", model) for model in findings.models)
        yield "Record SHA-256", findings.run


def _patient_row(f: Findings) -> list:
    flags = "; ".join(flag["code"] for flag in f.flags)
    who = [f.patient_id, f.specimen, "; ".join(f.smear_ids), "; ".join(f.centers)]
    counted = [f.n_cells, f.n_counted, f.denominator.replace("_", " "), f.n_unidentified]
    return [*who, *counted, f.nucleated_red_per_100, f.artefacts_per_100, flags]


def _class_rows(f: Findings) -> Iterator[list]:
    for row in f.rows:
        yield [f.patient_id, class_words(row["class"]), row["count"], row["share"], row["role"].replace("_", " ")]


def _ratio_rows(f: Findings) -> Iterator[list]:
    for r in f.ratios:
        corrected = r.get("corrected") or {}
        yield [
            f.patient_id, class_words(r["name"]), r.get("of", "").replace("_", " "), r["numerator"], r["denominator"],
            *(r[k] for k in ("value", "low", "high", "level", "method")), r.get("covers"),
            *(corrected.get(k) for k in ("value", "low", "high")),
            band_words(r["band"]), no_band_words(r), none_seen_words(r),
        ]  # fmt: skip

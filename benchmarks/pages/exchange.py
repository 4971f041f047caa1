"""What readers that are not ours find in exports, and the memory that a million cells of one field take.

    python -m benchmarks.pages.exchange [--cells 1000000] [--validators .venv-test/validators/node_modules]

Findings: records of versions 1 and 2 (tests/archive), a drawn run of three patients, a signed and an amended record,
and patients whose ids are hostile, in every format. FHIR is read by npm `fhir` (HL7's R4 profiles) and by `fhirpath`
with every invariant of HL7's definitions; DICOM by dciodvfy (dicom3tools; its known messages stand in
tests/test_exchange_dicom.py by their text); GeoJSON by shapely (GEOS); XLSX as the XML that it is, CSV by Python's csv.

Memory: `leukoscope export --to geojson csv` in a process of its own for a record whose one field has so many cells, and
a hundredth as many; the kernel's peak.

Writes benchmarks/results/exchange.csv.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from data import make_record
from data.make_signed import make_signed

from benchmarks.harness import Args, Rows, benchmark, option, spent
from leukoscope.exchange.export import export_records
from leukoscope.report import read_record

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "tests" / "archive"
HOSTILE = ("=cmd|' /C calc'!A0", "a\x00b\x1b[31m\r\nc", "x" * 300, "../../etc/passwd", "a\\b", "", "\ud800x", "<b>&\"'")
FORMULA = tuple("=+-@\t\r")
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
GROWTH = 1.10


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        records = inputs(folder / "in")
        export_records(records, ["fhir", "dicom", "geojson", "xlsx", "csv"], folder / "out")
        yield from findings(folder / "out", args.validators)
        yield from memory(folder, args.cells)


def inputs(folder: Path) -> list[Path]:
    """Runs and signed records, the hostile among them."""
    make_record.make_run(folder / "drawn", n_patients=3, n_fields=12, n_cells=8)
    record = json.loads((folder / "drawn" / "record.json").read_text("utf-8"))
    patient, field = record["patients"][0], record["fields"][0]
    ids = [{"patient_id": t, "smear_ids": [t], "center": [t]} for t in HOSTILE]
    record["patients"] = [patient | i for i in ids]
    record["fields"] = [field | {"patient_id": t, "smear_id": t, "center": t} for t in HOSTILE]
    (folder / "hostile").mkdir()
    (folder / "hostile" / "record.json").write_text(json.dumps(record), "utf-8")
    signed = make_signed(read_record(ARCHIVE / "record-v2" / "record.json"))
    for name, changes in (("final", {}), ("amended", {"version": 2}), ("odd", {"patient_id": HOSTILE[1]})):
        (folder / f"{name}.json").write_text(json.dumps(signed | changes), "utf-8")
    runs = [folder / "drawn", folder / "hostile", ARCHIVE / "record-v1", ARCHIVE / "record-v2"]
    return [*runs, *(folder / f"{name}.json" for name in ("final", "amended", "odd"))]


def findings(out: Path, validators: Path) -> list[dict]:
    """A row a reader: what it finds; 0 is asked."""
    from tests.test_exchange_dicom import FALSE_ERROR, findings_of_dciodvfy

    bundles = sorted((out / "fhir").glob("*.json"))
    script = ROOT / "tests" / "validators" / "validate_fhir.cjs"
    said = json.loads(subprocess.run(["node", script, validators, *bundles], capture_output=True, check=True).stdout)
    objects = sorted((out / "dicom").rglob("*.dcm"))
    of_dicom = sum(len(findings_of_dciodvfy(path)) for path in objects)
    known = sum(FALSE_ERROR in subprocess.run(["dciodvfy", p], capture_output=True, text=True).stderr for p in objects)
    collections = sorted((out / "geojson").glob("*.geojson"))
    cells = [f for path in collections for f in json.loads(path.read_text("utf-8"))["features"]]
    books, tables = sorted((out / "xlsx").glob("*.xlsx")), sorted(out.rglob("*.csv"))
    return [
        row(f"FHIR, {len(bundles)} resources", "findings of npm fhir (R4 profiles) and of fhirpath (invariants)",
            len(said["findings"]), checked=f"{said['constraints']} constraints"),
        row(f"DICOM, {len(objects)} objects", "findings of dciodvfy", of_dicom,
            checked=f"{known} objects with its known false error on 2D annotations"),
        row(f"GeoJSON, {len(collections)} files", "outlines that shapely (GEOS) can't read or finds invalid",
            sum(not is_valid(cell) for cell in cells), checked=f"{len(cells)} cells"),
        row(f"XLSX, {len(books)} workbooks", "formulas, links and macros in their XML", sum(map(active_in, books))),
        row(f"CSV, {len(tables)} tables", "values that are formulas to a spreadsheet", sum(map(formulas_in, tables))),
    ]  # fmt: skip


def row(on: str, measure: str, value: int, **more: object) -> dict:
    return {"set": on, "measure": measure, "value": value, "threshold": "<= 0", **more}


def is_valid(cell: dict) -> bool:
    """Whether GEOS reads the cell's outline, and finds it one."""
    import shapely

    try:
        return bool(shapely.from_geojson(json.dumps(cell["geometry"])).is_valid)
    except shapely.errors.GEOSException:
        return False


def active_in(book: Path) -> int:
    with zipfile.ZipFile(book) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
        return sum(len(re.findall(rb"<f[ >]|<hyperlink|vbaProject|externalLink", part)) for part in parts)


def formulas_in(table: Path) -> int:
    with open(table, encoding="utf-8-sig", newline="") as file:
        values = [value for line in csv.reader(file) for value in line]
    return sum(value.startswith(FORMULA) and not NUMBER.fullmatch(value) for value in values)


def memory(folder: Path, n_cells: int) -> list[dict]:
    """Peak memory and processor seconds at two sizes, and how they compare."""
    few, many = (export_of(folder / str(n), n) for n in (n_cells // 100, n_cells))
    on = f"one field of {n_cells:,} cells"
    growth = {"measure": f"peak memory over that of {n_cells // 100:,} cells", "threshold": f"<= {GROWTH}"}
    return [
        {"set": on, **growth, "value": round(many["peak_mib"] / few["peak_mib"], 3)},
        {"set": on, "measure": "peak memory, MiB", "value": round(many["peak_mib"], 1)},
        {"set": on, "measure": "processor microseconds a cell, GeoJSON and CSV",
         "value": round(many["cpu_s"] / n_cells * 1e6, 1)},
    ]  # fmt: skip


def export_of(folder: Path, n_cells: int) -> dict:
    """Export a record of one field in a new process: its peak in MiB and its processor seconds (Linux)."""
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    field = record["fields"][0]
    cell = json.dumps(field["cells"][0])
    head = json.dumps({key: record[key] for key in ("record_version", "provenance", "patients")})
    start = json.dumps({key: value for key, value in field.items() if key != "cells"})
    folder.mkdir()
    with open(folder / "record.json", "w", encoding="utf-8") as out:
        out.write(f'{head[:-1]}, "fields": [{start[:-1]}, "cells": [{cell}')
        for _ in range(n_cells - 1):
            out.write(f", {cell}")
        out.write("]}]}")
    child = spent("leukoscope", "export", folder, "--to", "geojson", "csv", "--out", folder / "out")
    return {"peak_mib": child.peak_mib, "cpu_s": child.cpu_s}


if __name__ == "__main__":
    benchmark(
        main, option("--cells", type=int, default=1_000_000),
        option("--validators", type=Path, default=Path(sys.prefix) / "validators" / "node_modules"),
    )  # fmt: skip

"""The record itself, and the report of it: for handing on, with or without names."""

from collections.abc import Iterator
from pathlib import Path

from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.photographs import find_photograph
from leukoscope.exchange.source import Source
from leukoscope.files import write_bytes, write_whole
from leukoscope.report import write_report

THUMBS = Path(".work") / "thumbs.jsonl"
_BLOCK = 1 << 20
SIGNED_NOTE = "a signed record has no report of pictures: print it from the reading room"


def write_record_file(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write the record as JSON, as it is (or without names, where the export is)."""
    if source.signed is not None:
        name = names.of(source.signed["patient_id"], "patient") + ".json"
        write_bytes(out / name, source.path.read_bytes())
        yield Written(name, (source.signed["patient_id"],))
        return
    name = names.of("record", "record") + ".json"
    with write_whole(out / name, "wb") as file, open(source.path, "rb") as record:
        while block := record.read(_BLOCK):
            file.write(block)
    yield Written(name, tuple(p["patient_id"] for p in source.record.patients))


def write_report_files(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write the report of a run into a folder of its own: pages, and pictures drawn anew from the photographs."""
    if source.record is None:
        yield Written("", (source.signed["patient_id"],), note=SIGNED_NOTE)
        return
    run = source.origin or source.path
    folder = names.of("report", "report")
    (out / folder).mkdir(parents=True, exist_ok=True)
    places = dict(source.places)
    # Only where a folder is named: every photograph is read for its digest.
    for photograph, _ in source.photographs() if wishes.photographs else ():
        path = find_photograph(photograph, run, wishes.photographs)
        if path is not None:
            places[photograph.file] = (str(path), photograph.sha256)
    write_report(source.path, run.parent / THUMBS, out / folder / "report.html", places=places)
    yield Written(f"{folder}/report.html", tuple(p["patient_id"] for p in source.record.patients))

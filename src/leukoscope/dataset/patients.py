"""Whose pictures these are: the patients table, ids that are spelled twice, and each field's key."""

from collections import Counter
from os.path import splitext
from pathlib import Path

from leukoscope.dataset.names import spelled_alike
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import RawField, RawSet
from leukoscope.dataset.sources import Source
from leukoscope.dataset.spreadsheet import read_table_of
from leukoscope.errors import DataError, InputError
from leukoscope.types import SPECIMENS, FieldKey


def read_patients(path: str | Path, raw: RawSet) -> dict[str, dict[str, str]]:
    """{file: row} of a patients table; a row names its picture by its path, or by a name that only one picture has."""
    rows = read_table_of(path, ("file", "patient_id"), may="smear_id, center")
    index = ImageIndex(raw.root, [f.file for f in raw.fields] + raw.images_without_annotation)
    people: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        file = index.find(row["file"])
        where = f"{path} row {number} names {row['file']!r}"
        if file is None:
            why = index.why_not(row["file"])
            said = f", which is no picture under {raw.root}{f' ({why})' if why else ''}"
            raise InputError(f"{where}{said}; correct or remove the row")
        if people.setdefault(file, row) != row:
            raise InputError(f"{where} a second time with other values; keep one row a picture")
    return people


def field_ids(fields: list[RawField]) -> dict[str, str]:
    """{file: field_id}: what the source states, else the path without its suffix, or with it where two pictures differ
    in nothing else. DataError where two would be one."""
    stems = Counter(splitext(f.file)[0] for f in fields)
    ids: dict[str, str] = {}
    owners: dict[str, str] = {}
    for field in fields:
        stem = splitext(field.file)[0]
        field_id = field.field_id or (stem if stems[stem] == 1 else field.file)
        if field_id in owners:
            raise DataError(f"{field.file} and {owners[field_id]} both have the field_id {field_id!r}: state two")
        ids[field.file], owners[field_id] = field_id, field.file
    return ids


def field_key(field: RawField, field_id: str, source: Source, person: dict[str, str], specimen: str | None) -> FieldKey:
    """Smear, patient and centre: what the patients table says, else the annotation, else the source; "" if nobody."""
    specimen = specimen or field.specimen or source.specimen
    if specimen not in SPECIMENS:
        raise DataError(f"{field.file}: specimen must be one of {', '.join(SPECIMENS)}, got {specimen[:40]!r}")
    return FieldKey(
        field_id,
        person.get("smear_id") or field.smear_id,
        person.get("patient_id") or field.patient_id,
        person.get("center") or field.center or source.center,
        specimen,
    )


def note_ids_spelled_twice(keys: list[FieldKey], raw: RawSet) -> None:
    """List patients, smears and centres whose ids differ in case, spaces or zeros alone: perhaps one, spelled twice."""
    for what, values in (
        ("patient", {k.patient_id for k in keys}),
        ("smear", {k.smear_id for k in keys}),
        ("centre", {k.center for k in keys}),
    ):
        for alike in spelled_alike(values):
            raw.note("", f"{what}s whose ids differ in case, spaces or zeros alone", " and ".join(map(repr, alike)))

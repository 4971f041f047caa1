"""The API's hand-over: what was signed, in the forms that other systems read, and what was sent where."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import StringConstraints
from sqlalchemy import select

from leukoscope.exchange.csv_files import signed_csv
from leukoscope.exchange.fhir import signed_bundle
from leukoscope.exchange.workbook import signed_workbook
from leukoscope.web.api import Body, Here, Key, Name, Reader
from leukoscope.web.pdf import report_pdf
from leukoscope.web.room import Room, patient_by_key, signed_by_version
from leukoscope.web.store import closing
from leukoscope.web.store import tables as t

router = APIRouter(prefix="/api/v1")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
After = Annotated[int, Query(ge=0, le=2**53)]


class SentIn(Body):
    """The system that a signed record went to."""

    system: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


@router.get("/signed")
def list_signed(room: Here, who: Reader, not_sent_to: Name = None, after: After = 0) -> dict:
    """Signed records in the order they were signed, 500 at most: `after` the last id for more."""
    query = (
        select(t.signed, t.patient.c.key, t.reader.c.name)
        .join_from(t.signed, t.patient)
        .join(t.reader, t.signed.c.reader_id == t.reader.c.id)
    )
    if not_sent_to is not None:
        sent = select(t.sent.c.signed_id).where(t.sent.c.system == not_sent_to)
        query = query.where(t.signed.c.id.not_in(sent))
    with room.store.reading() as connection:
        rows = connection.execute(query.where(t.signed.c.id > after).order_by(t.signed.c.id).limit(500)).all()
    return {
        "signed": [
            {"id": r.id, "patient": r.key, "version": r.version, "by": r.name, "at": r.at, "sha256": r.digest}
            for r in rows
        ]
    }


@router.get("/patients/{key}/signed/{version}.{form}")
def get_signed(
    key: Key, version: Version, form: Literal["json", "csv", "xlsx", "pdf", "fhir"], room: Here, who: Reader
) -> Response:
    """A signed record as JSON (exactly what was signed), CSV, XLSX, PDF, or a FHIR R4 bundle (docs/exchange.md)."""
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        row = signed_by_version(connection, patient, version)
    closing.note_access(room.store, patient.id, who.reader_id, f"signed version {version} as {form}")
    record = json.loads(row.record)
    makers = {
        "json": (lambda: row.record.encode(), "application/json", "json"),
        "csv": (lambda: signed_csv(record), "text/csv; charset=utf-8", "csv"),
        "xlsx": (lambda: signed_workbook(record), XLSX, "xlsx"),
        "pdf": (lambda: report_pdf(record, row.digest), "application/pdf", "pdf"),
        "fhir": (lambda: _fhir(room, record), "application/fhir+json", "fhir.json"),
    }
    make, kind, suffix = makers[form]
    name = f"leukoscope-{patient.key}-v{version}.{suffix}"
    return Response(make(), media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def _fhir(room: Room, record: dict) -> bytes:
    bundle = signed_bundle(record, patient_system=room.settings().patient_system)
    return json.dumps(bundle, ensure_ascii=False, indent=1).encode("utf-8", "surrogateescape")


@router.post("/patients/{key}/signed/{version}/sent")
def mark_sent(key: Key, version: Version, body: SentIn, room: Here, who: Reader) -> dict:
    """Note that a signed record went to another system; noting it twice does nothing."""
    with room.store.reading() as connection:
        signed = signed_by_version(connection, patient_by_key(connection, key), version)
    return {"new": closing.mark_sent(room.store, signed.id, body.system, reader_id=who.reader_id)}

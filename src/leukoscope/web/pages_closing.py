"""The pages at a reading's end: sign-off, what was signed, two readers side by side, the audit trail."""

import json

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select

from leukoscope.exchange.workbook import summary_rows
from leukoscope.web.differential import agreement, agreement_with_model
from leukoscope.web.downloads import audit_csv, audit_rows
from leukoscope.web.pages import patient_of, reading_page, render, visit
from leukoscope.web.room import NotFound, patient_by_key, reading_by_key, signed_by_version
from leukoscope.web.sessions import Forbidden, need_role
from leukoscope.web.signing import obstacles, sign_reading
from leukoscope.web.store import closing
from leukoscope.web.store import tables as t
from leukoscope.web.store.accounts import check_password, reader_names
from leukoscope.web.store.closing import note_access, pairs, two_readings
from leukoscope.web.store.patients import readings_of
from leukoscope.web.store.projection import states

router = APIRouter(include_in_schema=False)


@router.get("/r/{key}/sign")
def show_sign(request: Request, key: str) -> HTMLResponse:
    who, room = visit(request)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        cells = room.cells.get(connection, reading.patient_id)
        reasons = obstacles(connection, cells, reading, room.settings().sign)
        stood = states(connection, reading.id)
        said = agreement_with_model(cells, stood)
        of_patient = [r for r in readings_of(connection, reading.patient_id) if r.version == reading.version]
    return reading_page(
        request, key, "sign.html", "sign-off", obstacles=reasons, rules=room.settings().sign, said=said, field=None,
        seconds=sum(r.active_ms for r in of_patient) / 1000,
    )  # fmt: skip


@router.post("/r/{key}/sign")
def sign(
    request: Request, key: str, form_token: str = Form(""), password: str = Form("", max_length=1000)
) -> RedirectResponse:
    who, room = visit(request, form_token)
    address = request.client.host if request.client else ""
    if room.site.accounts and check_password(room.store, who.name, password, address=address) != who.reader_id:
        raise Forbidden("the password is wrong, or was wrong too often: nothing was signed")
    version = sign_reading(room, key, who, op=f"sign-{key}")
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        patient = connection.execute(select(t.patient.c.key).where(t.patient.c.id == reading.patient_id)).scalar_one()
    return RedirectResponse(f"/p/{patient}/signed/{version}", 303)


@router.post("/r/{key}/finish")
def finish(request: Request, key: str, form_token: str = Form("")) -> RedirectResponse:
    who, room = visit(request, form_token)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        patient = connection.execute(select(t.patient.c.key).where(t.patient.c.id == reading.patient_id)).scalar_one()
    if reading.state == "open":
        closing.finish(room.store, reading.id, reader_id=who.reader_id, op=f"finish-{key}")
    return RedirectResponse(f"/p/{patient}/compare" if reading.kind != "adjudication" else f"/r/{key}/sign", 303)


@router.get("/p/{key}/signed/{version}")
def show_signed(request: Request, key: str, version: int) -> HTMLResponse:
    who, room = visit(request)
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        row = signed_by_version(connection, patient, version)
        versions = connection.execute(
            select(t.signed.c.version).where(t.signed.c.patient_id == patient.id).order_by(t.signed.c.version)
        )
        versions = versions.scalars().all()
        sent = connection.execute(select(t.sent.c.system, t.sent.c.at).where(t.sent.c.signed_id == row.id)).all()
    note_access(room.store, patient.id, who.reader_id, f"signed version {version}")
    record = json.loads(row.record)
    return render(
        request, "signed.html", who, patient=patient, row=row, record=record, rows=summary_rows(record),
        versions=versions, sent=sent,
    )  # fmt: skip


@router.post("/p/{key}/signed/{version}/sent")
def mark_sent(
    request: Request, key: str, version: int, system: str = Form(..., max_length=100), form_token: str = Form("")
) -> RedirectResponse:
    who, room = visit(request, form_token)
    with room.store.reading() as connection:
        signed = signed_by_version(connection, patient_by_key(connection, key), version)
    closing.mark_sent(room.store, signed.id, system.replace("\0", ""), reader_id=who.reader_id)
    return RedirectResponse(f"/p/{key}/signed/{version}", 303)


@router.post("/p/{key}/reopen")
def reopen(
    request: Request, key: str, reason: str = Form(..., max_length=500), form_token: str = Form("")
) -> RedirectResponse:
    who, room = visit(request, form_token)
    need_role(who, *room.settings().sign.roles)
    patient = patient_of(room, key)
    reason = reason.replace("\0", "")
    return RedirectResponse(f"/r/{closing.reopen(room.store, patient.id, reason, reader_id=who.reader_id)}", 303)


@router.get("/p/{key}/compare")
def show_compare(request: Request, key: str) -> HTMLResponse:
    who, room = visit(request)
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        first, second = two_readings(connection, patient.id)
        cells = room.cells.get(connection, patient.id)
        comparison = None
        names = reader_names(connection)
        ready = first is not None and second is not None and "open" not in (first.state, second.state)
        if ready:
            compared = pairs(connection, patient.id)
            comparison = agreement(compared, cells.taxonomy.names)
    if ready:
        note_access(room.store, patient.id, who.reader_id, "comparison")
    return render(
        request, "compare.html", who, patient=patient, first=first, second=second, comparison=comparison, names=names
    )


@router.post("/p/{key}/adjudicate")
def adjudicate(request: Request, key: str, form_token: str = Form("")) -> RedirectResponse:
    who, room = visit(request, form_token)
    patient = patient_of(room, key)
    return RedirectResponse(f"/r/{closing.begin_adjudication(room.store, patient.id, reader_id=who.reader_id)}", 303)


@router.get("/p/{key}/audit")
def show_audit(request: Request, key: str, form: str = "html") -> HTMLResponse:
    who, room = visit(request)
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        blind = two_readings(connection, patient.id)[1]
        if blind is not None and blind.state == "open":
            raise NotFound("the audit trail is closed while a blind second reading is open")
        rows = audit_rows(connection, patient.id)
    note_access(room.store, patient.id, who.reader_id, "audit trail")
    if form == "csv":
        headers = {"content-disposition": f'attachment; filename="leukoscope-{patient.key}-audit.csv"'}
        return Response(audit_csv(rows), media_type="text/csv", headers=headers)
    return render(request, "audit.html", who, patient=patient, rows=rows)

"""The pages: rendered on the server, made alive by one script. What they change goes through forms or the API."""

import json
from pathlib import Path

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from sqlalchemy import Connection, select

from leukoscope.exchange.workbook import when
from leukoscope.report import words
from leukoscope.report.charts import interval_bar, straddles
from leukoscope.report.colors import class_style
from leukoscope.web.differential import numbers
from leukoscope.web.neighbours import nearest
from leukoscope.web.room import NotFound, Room, own_reading, patient_by_key, reading_by_key
from leukoscope.web.sessions import Who, check_form_token, page_reader
from leukoscope.web.store import readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.accounts import reader_names
from leukoscope.web.store.closing import note_access, two_readings
from leukoscope.web.store.projection import calls_of, states
from leukoscope.web.times import spread, times_chart
from leukoscope.web.view import cell_table, classes_of, short_of
from leukoscope.web.worklist import SORTS, STATES, reading_times, worklist

router = APIRouter(include_in_schema=False)
MARK_WORDS = {
    "suspected_apl": "urgent: suspected APL",
    "review_blasts": "review blasts",
    "few_cells": "few cells",
    "no_cells": "no cells",
    "crosses_a_line": "crosses a line",
    "poor_fields": "poor fields",
    "failed_fields": "failed fields",
    "unsure_apl": "unsure: APL",
}
_environment = Environment(
    loader=PackageLoader("leukoscope.web"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals.update(
    USE=words.USE,
    class_short=short_of,
    class_words=words.class_words,
    percent=words.percent,
    plural=words.plural,
    ratio_words=words.ratio_words,
    no_band_words=words.no_band_words,
    none_seen_words=words.none_seen_words,
    of_words=words.of_words,
    straddles=straddles,
    when=when,
    mark_words=lambda code: MARK_WORDS.get(code, code.replace("_", " ")),
    times_chart=lambda times: Markup(times_chart(times)),  # numbers only
    interval_bar=lambda ratio, small=False: Markup(interval_bar(ratio, small=small)),  # its own words are escaped there
)


def render(request: Request, name: str, who: Who | None, *, status: int = 200, **values: object) -> HTMLResponse:
    """A page from its template; a new session's cookie goes with it."""
    room: Room = request.app.state.room
    text = _environment.get_template(name).render(who=who, site=room.site, **values)
    return HTMLResponse(text, status_code=status)


def numbers_html(connection: Connection, room: Room, reading) -> str:
    """The live differential of a reading as a piece of HTML."""
    cells = room.cells.get(connection, reading.patient_id)
    shown = numbers(cells, calls_of(connection, reading.id), hidden=bool(reading.hidden))
    colors = {c["name"]: c["k"] for c in classes_of(room, cells.taxonomy)}
    template = _environment.get_template("_numbers.html")
    return template.render(numbers=shown, colors=colors, blasts=cells.taxonomy.blasts, hidden=reading.hidden)


def room_of(request: Request) -> Room:
    return request.app.state.room


def visit(request: Request, form_token: str | None = None) -> tuple[Who, Room]:
    """Who asks for a page, or sends a form with its session's token, and the room."""
    who = page_reader(request)
    if form_token is not None:
        check_form_token(who, form_token)
    return who, room_of(request)


def patient_of(room: Room, key: str):
    """A patient's row; NotFound."""
    with room.store.reading() as connection:
        return patient_by_key(connection, key)


@router.get("/")
def show_worklist(
    request: Request, state: str = "open", sort: str = "urgency", mark: str = "", page: int = 1
) -> HTMLResponse:
    return _worklist(request, state=state, sort=sort, mark=mark, page=page, search="")


@router.post("/")
def search_worklist(
    request: Request,
    search: str = Form("", max_length=200),
    state: str = Form("open"),
    sort: str = Form("urgency"),
    mark: str = Form(""),
    page: int = Form(1),
    form_token: str = Form(""),
) -> HTMLResponse:
    """A search is posted: what is searched for is a patient's name, and does not belong into an address or a log."""
    check_form_token(page_reader(request), form_token)
    return _worklist(request, state=state, sort=sort, mark=mark, page=page, search=search)


def _worklist(request: Request, *, state: str, sort: str, mark: str, page: int, search: str) -> HTMLResponse:
    who, room = visit(request)
    wanted = state if state in (*STATES, "open") else None
    sort, mark = sort if sort in SORTS else "urgency", mark if mark in MARK_WORDS else ""
    asked = {"sort": sort, "search": search.replace("\0", ""), "page": max(1, min(page, 10**6))}
    with room.store.reading() as connection:
        listed = worklist(connection, state=wanted, mark=mark or None, **asked)
        times = reading_times(connection)
    chosen = {"state": wanted or "all", "sort": sort, "mark": mark, "search": search}
    return render(
        request, "worklist.html", who, listed=listed, chosen=chosen, states=STATES, sorts=SORTS, marks=MARK_WORDS,
        times=spread(times),
    )  # fmt: skip


@router.get("/p/{key}")
def open_patient(request: Request, key: str) -> HTMLResponse:
    """On to the reader's reading; where another reader has begun, the choice to join or to read blind."""
    who, room = visit(request)
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        reading = own_reading(connection, patient.id, who)
        first, _ = two_readings(connection, patient.id)
        names = reader_names(connection)
    if reading is None and first is not None:
        return render(request, "choose.html", who, patient=patient, first=first, first_reader=names[first.reader_id])
    if reading is None:
        return RedirectResponse(f"/r/{readings.begin_reading(room.store, patient.id, who.reader_id)}", 303)
    return RedirectResponse(f"/r/{reading.key}", 303)


@router.post("/p/{key}")
def begin_reading(request: Request, key: str, kind: str = Form(...), form_token: str = Form("")) -> RedirectResponse:
    who, room = visit(request, form_token)
    patient = patient_of(room, key)
    return RedirectResponse(f"/r/{readings.begin_reading(room.store, patient.id, who.reader_id, kind=kind)}", 303)


def reading_page(request: Request, key: str, template: str, what: str, **more: object) -> HTMLResponse:
    """A page about one reading, with its cells for the script."""
    who, room = visit(request)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        cells = room.cells.get(connection, reading.patient_id)
        patient = connection.execute(select(t.patient).where(t.patient.c.id == reading.patient_id)).one()
        data = cell_table(connection, room, reading)
        first, second = two_readings(connection, patient.id)
        values = {
            "patient": patient,
            "reading": reading,
            "data": data | {"patient": patient.key},
            "numbers": Markup(numbers_html(connection, room, reading)),
            "second": second if reading.kind != "second" else None,
            "both": first is not None and second is not None,
            "notes": readings.notes_of(connection, reading),
        }
    note_access(room.store, patient.id, who.reader_id, what)
    missing = len(room.photographs.missing(patient.id, by_name=True)) if "field" not in more else 0
    return render(request, template, who, cells=cells, missing=missing, **values, **more)


@router.get("/r/{key}")
def show_reading(request: Request, key: str) -> HTMLResponse:
    return reading_page(request, key, "reading.html", "cells")


@router.get("/r/{key}/numbers")
def show_numbers(request: Request, key: str) -> HTMLResponse:
    """The live differential alone: the page fetches it after its calls were answered."""
    who, room = visit(request)
    with room.store.reading() as connection:
        return HTMLResponse(numbers_html(connection, room, reading_by_key(connection, key, who)))


@router.get("/r/{key}/notes")
def show_notes(request: Request, key: str) -> HTMLResponse:
    """The notes alone: the page fetches them after one was added."""
    who, room = visit(request)
    with room.store.reading() as connection:
        notes = readings.notes_of(connection, reading_by_key(connection, key, who))
    return render(request, "_notes.html", who, notes=notes)


@router.get("/r/{key}/c/{cell_id}")
def show_cell(request: Request, key: str, cell_id: int, like: bool = False) -> HTMLResponse:
    """What the side panel shows of one cell: probabilities, history, and where it is asked for like cells."""
    who, room = visit(request)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        cells = room.cells.get(connection, reading.patient_id)
        row = cells.row_of(cell_id)
        state = states(connection, reading.id, [cell_id]).get(cell_id)
        if row is None and state is None:
            raise NotFound("no such cell")
        history = _history(connection, reading.id, cell_id)
        probs = []
        if row is not None and not reading.hidden:
            order = (-cells.probs[row]).argsort()[:5]
            probs = [(cells.taxonomy.names[i], float(cells.probs[row, i])) for i in order.tolist()]
        near = nearest(connection, room.sketches, cells, cell_id) if like and row is not None else None
    colors = {c["name"]: c["k"] for c in classes_of(room, cells.taxonomy)}
    return render(
        request, "_cell.html", who, reading=reading, cell_id=cell_id, state=state, probs=probs, history=history,
        colors=colors, asked=like, like=near,
    )  # fmt: skip


def _history(connection: Connection, reading_id: int, cell_id: int) -> list[dict]:
    """What was done to a cell in this reading, newest first."""
    rows = connection.execute(
        select(t.event.c.at, t.event.c.kind, t.event.c.payload, t.reader.c.name)
        .join_from(t.touched, t.event, t.touched.c.event_id == t.event.c.id)
        .join(t.reader, t.event.c.reader_id == t.reader.c.id)
        .where(t.touched.c.cell_id == cell_id, t.event.c.reading_id == reading_id)
        .order_by(t.event.c.seq.desc())
        .limit(12)
    )
    said = [(r, json.loads(r.payload)) for r in rows]
    return [
        {"at": r.at, "kind": r.kind, "call": p.get("call"), "text": p.get("text"), "reader": r.name} for r, p in said
    ]


@router.get("/p/{key}/classes.css")
def class_colours(request: Request, key: str):
    """The colours of a taxonomy's classes, light and dark."""
    from fastapi import Response

    page_reader(request)
    with room_of(request).store.reading() as connection:
        cells = room_of(request).cells.get(connection, patient_by_key(connection, key).id)
    return Response(class_style(cells.taxonomy.names), media_type="text/css")


@router.get("/learn")
def show_learn(request: Request) -> HTMLResponse:
    from leukoscope.web.learn import reviewed_summary

    who, room = visit(request)
    with room.store.reading() as connection:
        summary = reviewed_summary(connection)
    where = room.store.engine.url
    database = "postgresql://…"
    if where.get_backend_name() == "sqlite":
        path = Path(where.database)
        database = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return render(request, "learn.html", who, summary=summary, database=database)


@router.get("/help")
def show_help(request: Request) -> HTMLResponse:
    return render(request, "help.html", page_reader(request))

"""The API: what the pages' script and a laboratory's scripts call. Described at /openapi.json."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import select

from leukoscope.web.differential import numbers
from leukoscope.web.room import Room, own_reading, patient_by_key, reading_by_key
from leukoscope.web.sessions import Who, api_reader, need_role
from leukoscope.web.signing import obstacles, sign_reading
from leukoscope.web.store import closing, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.projection import calls_of
from leukoscope.web.view import cell_states, cell_table

router = APIRouter(prefix="/api/v1")
MANY = 5000  # cells an operation
Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Op = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]
Words = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
CellId = Annotated[int, Field(ge=1, le=2**53)]
Page = Annotated[int, Query(ge=1, le=10**6)]
Name = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
Seq = Annotated[int, Field(ge=0, le=2**31 - 1)]
Ms = Annotated[int, Field(ge=0, le=2**31 - 1)]
Pixel = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
Reader = Annotated[Who, Depends(api_reader)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EditIn(Body):
    """An edit: see `leukoscope.web.store.readings.Edit`."""

    kind: Literal["call", "add", "move", "delete"]
    op: Op
    cells: Annotated[list[CellId], Field(min_length=1, max_length=MANY)]
    call: Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")] | None = None
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = None
    expect: dict[Annotated[int, Field(ge=1, le=2**53)], Seq] = Field(default_factory=dict)
    ms: Ms = 0


class OpIn(Body):
    """An operation that needs no more than its name."""

    op: Op


class NoteIn(Body):
    """What is no edit: cells that were on the screen, a mode, a note, active reading."""

    kind: Literal["seen", "mode", "note", "read"]
    op: Op
    cells: Annotated[list[CellId], Field(max_length=MANY)] = Field(default_factory=list)
    hidden: bool = False
    text: Words = ""
    cell: CellId | None = None
    ms: Ms = 0


class ReadingIn(Body):
    """Which reading to begin."""

    kind: Literal["first", "second"] = "first"


class ReasonIn(Body):
    """Why a signed patient is re-opened."""

    reason: Words


class Answer(Response):
    """Plain types as JSON, written once: no model is made of thousands of cells only to check our own answer."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def _room(request: Request) -> Room:  # no database: it need not leave the loop
    return request.app.state.room


Here = Annotated[Room, Depends(_room)]


@router.get("/patients")
def list_patients(room: Here, who: Reader, state: Name = None, page: Page = 1) -> dict:
    """Patients, the most urgent first, 100 a page."""
    from leukoscope.web.worklist import worklist

    with room.store.reading() as connection:
        return worklist(connection, state=state, page=page).to_dict()


@router.get("/patients/{key}")
def get_patient(key: Key, room: Here, who: Reader) -> dict:
    """One patient: what the record says, its readings, its signed versions."""
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
        reading = own_reading(connection, patient.id, who)
        versions = connection.execute(select(t.signed.c.version).where(t.signed.c.patient_id == patient.id))
        return {
            "key": patient.key,
            "patient_id": patient.label,
            "state": patient.state,
            "entry": json.loads(patient.entry),
            "reading": None if reading is None else reading.key,
            "signed": sorted(versions.scalars()),
        }


@router.post("/patients/{key}/readings")
def begin(key: Key, body: ReadingIn, room: Here, who: Reader) -> dict:
    """Begin a reading, or go on with the one that is open."""
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
    return {"reading": readings.begin_reading(room.store, patient.id, who.reader_id, kind=body.kind)}


@router.get("/readings/{key}/cells")
def get_cells(key: Key, room: Here, who: Reader) -> Answer:
    """All cells of a reading: columns and rows as docs/reading-room.md has them."""
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        return Answer(cell_table(connection, room, reading))


@router.post("/readings/{key}/events")
def add_event(key: Key, body: EditIn, room: Here, who: Reader) -> Answer:
    """One edit. 409 with what stands now where another reader was first."""
    change = readings.Edit(body.kind, tuple(body.cells), body.op, body.call, body.box, body.expect, body.ms)
    return _changed(
        room, key, who, lambda reading: readings.edit(room.store, reading.id, change, reader_id=who.reader_id)
    )


@router.post("/readings/{key}/undo")
def undo(key: Key, body: OpIn, room: Here, who: Reader) -> Answer:
    """Take the last edit back."""
    return _changed(room, key, who, lambda r: readings.undo(room.store, r.id, reader_id=who.reader_id, op=body.op))


@router.post("/readings/{key}/redo")
def redo(key: Key, body: OpIn, room: Here, who: Reader) -> Answer:
    """Bring back the edit that was taken back last."""
    return _changed(
        room, key, who, lambda r: readings.undo(room.store, r.id, reader_id=who.reader_id, op=body.op, forward=True)
    )


@router.post("/readings/{key}/notes")
def add_note(key: Key, body: NoteIn, room: Here, who: Reader) -> Answer:
    """Log what is no edit."""
    payloads = {
        "seen": {"cells": body.cells},
        "mode": {"hidden": body.hidden},
        "note": {"text": body.text, "cell": body.cell},
        "read": {},
    }
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
    payload = payloads[body.kind] | {"ms": body.ms}
    outcome = readings.note(room.store, reading.id, body.kind, payload, reader_id=who.reader_id, op=body.op)
    return Answer({"seq": outcome.event.seq})


@router.get("/readings/{key}/notes")
def get_notes(key: Key, room: Here, who: Reader) -> dict:
    """What readers noted, oldest first: at (ms since 1970 UTC), reader, text, cell (null: of the patient)."""
    with room.store.reading() as connection:
        return {"notes": readings.notes_of(connection, reading_by_key(connection, key, who))}


@router.get("/readings/{key}/numbers")
def get_numbers(key: Key, room: Here, who: Reader) -> Answer:
    """The differential, ratios and flags of a reading as it stands (`leukoscope.web.differential.numbers`)."""
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        cells = room.cells.get(connection, reading.patient_id)
        return Answer(numbers(cells, calls_of(connection, reading.id), hidden=bool(reading.hidden)))


@router.get("/readings/{key}/obstacles")
def get_obstacles(key: Key, room: Here, who: Reader) -> dict:
    """What stands in the way of signing."""
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        cells = room.cells.get(connection, reading.patient_id)
        reasons = obstacles(connection, cells, reading, room.settings().sign)
    return {"obstacles": [{"text": o.text, "cells": list(o.cells)} for o in reasons]}


@router.post("/readings/{key}/finish")
def finish(key: Key, body: OpIn, room: Here, who: Reader) -> dict:
    """This reading is done: it waits for the other reader."""
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
    closing.finish(room.store, reading.id, reader_id=who.reader_id, op=body.op)
    return {"state": "done"}


@router.post("/patients/{key}/adjudication")
def adjudicate(key: Key, room: Here, who: Reader) -> dict:
    """The reading in which the cells that differ are decided."""
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
    return {"reading": closing.begin_adjudication(room.store, patient.id, reader_id=who.reader_id)}


@router.post("/readings/{key}/sign")
def sign(key: Key, body: OpIn, room: Here, who: Reader) -> dict:
    """Sign: 422 says what stands in the way."""
    return {"version": sign_reading(room, key, who, op=body.op)}


@router.post("/patients/{key}/reopen")
def reopen(key: Key, body: ReasonIn, room: Here, who: Reader) -> dict:
    """A new version's reading, which starts from what was signed."""
    need_role(who, *room.settings().sign.roles)
    with room.store.reading() as connection:
        patient = patient_by_key(connection, key)
    return {"reading": closing.reopen(room.store, patient.id, body.reason, reader_id=who.reader_id)}


def _changed(room: Room, key: str, who: Who, do) -> Answer:
    """Run an edit; the event, and its cells as they stand. The numbers are a request of their own: no key waits."""
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
    outcome = do(reading)
    event = outcome.event
    with room.store.reading() as connection:
        rows = cell_states(connection, room, reading, outcome.cells)
    said = {"seq": None, "kind": None} if event is None else {"seq": event.seq, "kind": event.kind}
    return Answer(said | {"cells": rows})

"""The reading room's database: nothing is lost, undo walks back, tampering shows. On SQLite and PostgreSQL."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from data import store_room

from leukoscope.errors import InputError

pytest.importorskip("sqlalchemy", reason="the reading room is not installed: pip install '.[review]'")
from sqlalchemy import delete, select, update  # noqa: E402

from leukoscope.web.store import closing, readings  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.events import Closed, Conflict, verify  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.patients import update_patient  # noqa: E402
from leukoscope.web.store.projection import rebuild, states  # noqa: E402
from leukoscope.web.store.readings import Edit  # noqa: E402
from leukoscope.web.worklist import SORTS, worklist  # noqa: E402

cluster, where, run, room = store_room.cluster, store_room.where, store_room.run, store_room.room


def test_the_same_record_is_opened_once(room, run):
    again = open_run(room.store, run / "record.json")
    assert again.was_there and again.run_id == room.opened.run_id
    assert (again.n_patients, again.n_cells) == (room.opened.n_patients, room.opened.n_cells)


def test_a_worklist_is_filtered_sorted_and_searched(room):
    with room.store.reading() as connection:
        everything = worklist(connection)
        marks = {mark for line in everything.lines for mark in line.marks}
        for mark in marks:
            expected = [line.key for line in everything.lines if mark in line.marks]
            assert [line.key for line in worklist(connection, mark=mark).lines] == expected
        assert marks and worklist(connection, mark="few%").lines == ()
        label = everything.lines[0].label
        assert [line.label for line in worklist(connection, search=label[1:].upper()).lines] == [label]
        assert worklist(connection, state="signed").n_found == 0 and worklist(connection, state="open").n_found == 2
        for sort in SORTS:
            assert {line.key for line in worklist(connection, sort=sort).lines} == {ln.key for ln in everything.lines}
        with pytest.raises(InputError, match="a state is one of"):
            worklist(connection, state="gone")


def test_a_call_stands_beside_the_models_and_says_who(room):
    reading, cell = room.begin(), room.cells[0]
    room.call(reading, [cell], "monocyte", reader=room.ben)
    state = room.states(reading)[cell]
    assert (state.call, state.seen, state.reader_id) == ("monocyte", True, room.ben)
    with room.store.reading() as connection:
        row = connection.execute(select(t.cell).where(t.cell.c.id == cell)).one()
        patient = connection.execute(select(t.patient).where(t.patient.c.id == room.patient.id)).one()
    assert row.called is not None  # the model's call is as it was
    assert (patient.state, patient.n_seen, patient.n_corrected) == ("in review", 1, 1)


def test_undo_and_redo_walk_all_the_way(room):
    reading, (a, b, *_) = room.begin(), room.cells
    room.call(reading, [a], "monocyte")
    room.call(reading, [a, b], "basophil")
    change = Edit("add", (room.field.id,), room.op(), call="unidentified", box=(1, 1, 20, 20))
    (added,) = readings.edit(room.store, reading.id, change, reader_id=room.anna).cells
    room.call(reading, [added], "lymphocyte")
    expected = [
        {a: "basophil", b: "basophil", added: "unidentified"},
        {a: "basophil", b: "basophil"},
        {a: "monocyte"},
        {},
    ]
    for calls in expected:
        room.undo(reading)
        assert room.calls(reading) == calls
    assert room.undo(reading).event is None
    for calls in [*expected[-2::-1], {a: "basophil", b: "basophil", added: "lymphocyte"}]:
        room.undo(reading, forward=True)
        assert room.calls(reading) == calls
    assert room.undo(reading, forward=True).event is None
    room.undo(reading)
    room.call(reading, [b], "eosinophil")  # a new edit ends what could be brought back
    assert room.undo(reading, forward=True).event is None


def test_the_projection_is_the_log_replayed(room):
    reading = room.begin()
    names = ["monocyte", "lymphocyte", "unidentified", "not_a_cell"]
    for number, cell in enumerate(room.cells):
        room.call(reading, [cell, room.cells[number // 2]], names[number % 4])
        if number % 3 == 0:
            room.undo(reading)
        if number % 6 == 0:
            room.undo(reading, forward=True)
    readings.note(room.store, reading.id, "seen", {"cells": room.cells}, reader_id=room.ben, op=room.op())
    before = room.states(reading)
    with room.store.writing() as connection:
        rebuild(connection, reading.id)
        assert states(connection, reading.id) == before
        assert verify(connection, reading.id) is None


def test_what_edits_count_on_is_what_counting_anew_finds(room):
    """The worklist's numbers are moved by each edit and not counted: they must not drift."""
    reading, box = room.begin(), (10, 10, 40, 40)
    added = Edit("add", (room.field.id,), room.op(), call="lymphoblast", box=box)
    extra = next(iter(readings.edit(room.store, reading.id, added, reader_id=room.anna).cells))
    room.call(reading, [*room.cells[:4], extra], "monocyte")
    room.call(reading, room.cells[:2], room.model_class(room.cells[0]))
    readings.note(room.store, reading.id, "seen", {"cells": room.cells[2:9]}, reader_id=room.ben, op=room.op())
    for _ in range(2):
        readings.edit(room.store, reading.id, Edit("delete", (extra,), room.op()), reader_id=room.anna)
        room.undo(reading)
        room.undo(reading)
        room.undo(reading, forward=True)
    columns = select(t.patient.c.n_seen, t.patient.c.n_corrected, t.patient.c.state).where(
        t.patient.c.id == room.patient.id
    )
    with room.store.writing() as connection:
        moved = connection.execute(columns).one()
        assert moved.n_seen > 8 and moved.n_corrected > 2
        update_patient(connection, room.patient.id)
        assert connection.execute(columns).one() == moved


def test_a_changed_or_missing_event_breaks_the_chain(room):
    reading = room.begin()
    for cell in room.cells[:4]:
        room.call(reading, [cell], "monocyte")

    class Back(Exception):
        pass

    mine = t.event.c.reading_id == reading.id
    harms = [
        update(t.event).where(mine, t.event.c.seq == 3).values(payload="{}"),
        update(t.event).where(mine, t.event.c.seq == 3).values(reader_id=room.ben),
        delete(t.event).where(mine, t.event.c.seq == 5),
    ]
    for harm in harms:
        with pytest.raises(Back), room.store.writing() as connection:
            if harm.is_delete:
                connection.execute(delete(t.touched))
            connection.execute(harm)
            assert verify(connection, reading.id)
            raise Back
    with room.store.reading() as connection:
        assert verify(connection, reading.id) is None


def test_an_operation_sent_twice_is_done_once(room):
    reading = room.begin()
    change = Edit("call", (room.cells[0],), "same", call="monocyte")
    first = readings.edit(room.store, reading.id, change, reader_id=room.anna)
    again = readings.edit(room.store, reading.id, change, reader_id=room.anna)
    assert first.event.seq == again.event.seq and first.cells == again.cells


def test_the_second_editor_of_a_cell_gets_a_conflict(room):
    reading, cell = room.begin(), room.cells[0]
    seq = room.call(reading, [cell], "monocyte", expect={cell: 0}).event.seq
    with pytest.raises(Conflict) as told:
        room.call(reading, [cell, room.cells[1]], "basophil", reader=room.ben, expect={cell: 0, room.cells[1]: 0})
    assert told.value.cells == {cell: {"call": "monocyte", "seq": seq, "reader": "Anna"}}
    assert room.calls(reading) == {cell: "monocyte"}  # nothing of the refused edit
    room.call(reading, [cell], "basophil", reader=room.ben, expect={cell: seq})


WRONG = (
    {"call": "leucocyte"},
    {"cells": ()},
    {"cells": (10**9,)},
    {"op": ""},
    {"kind": "sign"},
    {"kind": "delete"},
    {"kind": "move", "box": (5, 5, 5.5, 9)},
    {"kind": "move", "box": (-90, -90, -1, -1)},
    {"kind": "add", "box": (0, 0, 9, 9), "cells": (10**9,)},
)


def test_a_wrong_edit_changes_nothing(room):
    reading = room.begin()
    for number, change in enumerate(WRONG):
        edit = replace(Edit("call", (room.cells[0],), f"op-{number}", call="monocyte"), **change)
        with pytest.raises(InputError):
            readings.edit(room.store, reading.id, edit, reader_id=room.anna)
    assert room.states(reading) == {}


def test_two_blind_readings_are_adjudicated_cell_by_cell(room):
    first, (a, b, c, *_) = room.begin(), room.cells
    room.call(first, [a], "monocyte")
    room.call(first, [b], "basophil")
    with pytest.raises(InputError, match="had a hand in the first"):
        room.begin(room.anna, "second")
    second = room.begin(room.ben, "second")
    room.call(second, [a], "monocyte", reader=room.ben)
    room.call(second, [c], "not_a_cell", reader=room.ben)
    assert room.calls(second) == {a: "monocyte", c: "not_a_cell"}  # nothing of the first
    boxes = ((first, (10, 10, 40, 40), room.anna), (second, (12, 11, 41, 40), room.ben))
    added = []
    for reading, box, who in boxes:
        change = Edit("add", (room.field.id,), room.op(), call="lymphocyte", box=box)
        added += readings.edit(room.store, reading.id, change, reader_id=who).cells
    with pytest.raises(InputError, match="both done"):
        closing.begin_adjudication(room.store, room.patient.id, reader_id=room.anna)
    for reading, who in ((first, room.anna), (second, room.ben)):
        closing.finish(room.store, reading.id, reader_id=who, op=room.op())
    with pytest.raises(Closed):
        room.call(first, [c], "monocyte")
    key = closing.begin_adjudication(room.store, room.patient.id, reader_id=room.anna)
    last = readings.find_reading(room.store, key)
    with room.store.reading() as connection:
        assert closing.undecided(connection, last.id) == {b, c}
    assert room.calls(last) == {a: "monocyte", added[0]: "lymphocyte"}  # the cell that both added is one
    room.call(last, [b], "eosinophil")
    with room.store.reading() as connection:
        assert closing.undecided(connection, last.id) == {c}


def test_a_signed_record_stays_and_reopening_starts_from_it(room):
    reading, cell = room.begin(), room.cells[0]
    room.call(reading, [cell], "monocyte")
    signed = closing.sign(room.store, reading.id, lambda *_: {"n": 1}, reader_id=room.anna, op="sign")
    with pytest.raises(Closed):
        room.call(reading, [cell], "basophil")
    with pytest.raises(InputError, match="reason"):
        closing.reopen(room.store, room.patient.id, "  ", reader_id=room.ben)
    key = closing.reopen(room.store, room.patient.id, "slide was mixed up", reader_id=room.ben)
    new = readings.find_reading(room.store, key)
    assert new.version == 2 and room.calls(new) == {cell: "monocyte"}
    room.call(new, [cell], "basophil")
    closing.sign(room.store, new.id, lambda *_: {"n": 2}, reader_id=room.ben, op="sign")
    with room.store.reading() as connection:
        records = connection.execute(select(t.signed).order_by(t.signed.c.version)).all()
    assert [json.loads(r.record)["n"] for r in records] == [1, 2] and records[0].id == signed
    assert closing.mark_sent(room.store, signed, "LIS", reader_id=room.anna)
    assert not closing.mark_sent(room.store, signed, "LIS", reader_id=room.anna)


def test_many_writers_lose_and_repeat_nothing(room):
    reading, n = room.begin(), 6
    trouble = []

    def work(who: int) -> None:
        try:
            for number in range(n):
                change = Edit("call", (room.cells[who],), f"{who}-{number}", call=("monocyte", "basophil")[number % 2])
                readings.edit(room.store, reading.id, change, reader_id=room.anna)
        except Exception as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with room.store.reading() as connection:
        ops = connection.execute(select(t.event.c.op).where(t.event.c.kind == "call")).scalars().all()
        assert verify(connection, reading.id) is None
    assert not trouble and sorted(ops) == sorted(f"{who}-{number}" for who in range(6) for number in range(n))

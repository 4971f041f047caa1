"""The reading room's database: nothing is lost, undo walks back, tampering shows. On SQLite and PostgreSQL."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data import make_room, postgresql

from leukoscope.errors import InputError

pytest.importorskip("sqlalchemy", reason="the reading room is not installed: pip install '.[review]'")
from alembic import command  # noqa: E402
from sqlalchemy import delete, insert, select, text, update  # noqa: E402

from leukoscope.web.cells import CellCache  # noqa: E402
from leukoscope.web.learn import reviewed_summary  # noqa: E402
from leukoscope.web.neighbours import SHORTLIST, Sketches, nearest  # noqa: E402
from leukoscope.web.store import closing, open_store, readings, schema, shares  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.accounts import reader_named  # noqa: E402
from leukoscope.web.store.events import Closed, Conflict, verify  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.patients import update_patient  # noqa: E402
from leukoscope.web.store.photographs import Photographs  # noqa: E402
from leukoscope.web.store.projection import rebuild, states  # noqa: E402
from leukoscope.web.store.readings import Edit  # noqa: E402
from leukoscope.web.store.sketches import sketch  # noqa: E402
from leukoscope.web.worklist import SORTS, worklist  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    if postgresql.programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver: pip install '.[review-postgresql]'")
    with postgresql.cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path) -> str:
    """A database's address: a new file, or a new database of the module's cluster."""
    if request.param == "sqlite":
        return str(tmp_path / "readings.db")
    url = request.getfixturevalue("cluster")
    postgresql.empty(url)
    return url


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_room.make_run(tmp_path_factory.mktemp("run"), n_patients=2, n_fields=8, n_cells=5)


class Room:
    """An open store with a run, its first patient, and two readers."""

    def __init__(self, where: str, run: Path) -> None:
        self.store = open_store(where)
        self.opened = open_run(self.store, run)
        self.anna, self.ben = (reader_named(self.store, name) for name in ("Anna", "Ben"))
        with self.store.reading() as connection:
            self.patient = connection.execute(select(t.patient).order_by(t.patient.c.id)).first()
            cells = select(t.cell.c.id).where(t.cell.c.patient_id == self.patient.id).order_by(t.cell.c.id)
            self.cells = connection.execute(cells).scalars().all()
            fields = select(t.field).where(t.field.c.patient_id == self.patient.id, t.field.c.width.is_not(None))
            self.field = connection.execute(fields).first()
        self.ops = 0

    def begin(self, reader: int | None = None, kind: str = "first"):
        key = readings.begin_reading(self.store, self.patient.id, reader or self.anna, kind=kind)
        return readings.find_reading(self.store, key)

    def op(self) -> str:
        self.ops += 1
        return f"op-{self.ops}"

    def call(self, reading, cells, call: str, *, reader: int | None = None, expect=None):
        change = Edit("call", tuple(cells), self.op(), call=call, expect=expect or {})
        return readings.edit(self.store, reading.id, change, reader_id=reader or self.anna)

    def undo(self, reading, *, forward: bool = False):
        return readings.undo(self.store, reading.id, reader_id=self.anna, op=self.op(), forward=forward)

    def model_class(self, cell: int) -> str:
        with self.store.reading() as connection:
            called = connection.execute(select(t.cell.c.called).where(t.cell.c.id == cell)).scalar()
            return readings.taxonomy_of(connection, self.patient.id).names[called]

    def states(self, reading) -> dict:
        with self.store.reading() as connection:
            return states(connection, reading.id)

    def calls(self, reading) -> dict:
        return {cell: s.call for cell, s in self.states(reading).items() if s.call is not None and not s.gone}


@pytest.fixture
def room(where, run):
    room = Room(where, run)
    yield room
    room.store.close()


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


def test_like_cells_are_found_by_the_models_features(tmp_path, run):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    make_room.with_features(copy)
    room = Room(str(tmp_path / "r.db"), copy)
    cache, sketches = CellCache(), Sketches()
    with room.store.reading() as connection:
        cells = cache.get(connection, room.patient.id)
        found = nearest(connection, sketches, cells, room.cells[0])
        vectors = dict(connection.execute(select(t.feature.c.cell_id, t.feature.c.vector)).all())
    assert found["patient"][0].cell_id == room.cells[4] and found["patient"][0].cosine == pytest.approx(1, abs=0.01)
    unit = {c: np.frombuffer(v, np.float16).astype(float) for c, v in vectors.items()}
    unit = {c: v / np.linalg.norm(v) for c, v in unit.items()}
    for name, ids in (("patient", set(room.cells) - {room.cells[0]}), ("database", set(unit) - set(room.cells))):
        expected = sorted((float(unit[c] @ unit[room.cells[0]]) for c in ids), reverse=True)[:12]
        assert [n.cosine for n in found[name]] == pytest.approx(expected, abs=0.002)
        assert {n.cell_id for n in found[name]} <= ids
    assert {n.patient_key for n in found["patient"]} == {None} and None not in {
        n.patient_key for n in found["database"]
    }
    # What another patient's reader signed stands in the model's place; an open reading says nothing.
    near, before = found["database"][0], [(n.cell_id, n.called) for n in found["database"]]
    other = Patient(room, near.patient_key)
    room.call(other.reading, [near.cell_id], "basophil")
    with room.store.reading() as connection:
        assert [
            (n.cell_id, n.called) for n in nearest(connection, sketches, cells, room.cells[0])["database"]
        ] == before
    closing.sign(room.store, other.reading.id, lambda *_: {}, reader_id=room.anna, op=room.op())
    with room.store.reading() as connection:
        first = nearest(connection, sketches, cells, room.cells[0])["database"][0]
    assert (first.cell_id, first.called, first.read) == (near.cell_id, "basophil", True)
    # Another classifier hears something else: its cells are not compared, those of the same one in another run are.
    for name, digest in (("same", None), ("another", "0" * 64)):
        again = tmp_path / name
        shutil.copytree(copy, again)
        record = json.loads((again / "record.json").read_text())
        record["provenance"]["options"]["note"] = name
        if digest:
            record["provenance"]["models"]["classifier"]["onnx_sha256"] = digest
        (again / "record.json").write_text(json.dumps(record))
        assert not open_run(room.store, again).was_there
    with room.store.reading() as connection:
        runs = dict(connection.execute(select(t.cell.c.id, t.patient.c.run_id).join_from(t.cell, t.patient)).all())
        wide = nearest(connection, sketches, cells, room.cells[0])["database"]
    assert {runs[n.cell_id] for n in wide} == {1, 2} and wide[0].cosine == pytest.approx(1, abs=0.001)
    room.store.close()


def test_a_sketch_finds_the_nearest_of_many():
    rng = np.random.default_rng(5)
    centres = rng.gamma(0.5, size=(40, 600))  # positive and correlated, as pooled features are
    vectors = centres[rng.integers(0, 40, 4000)] + 0.3 * rng.gamma(0.5, size=(4000, 600))
    unit, short = vectors / np.linalg.norm(vectors, axis=1, keepdims=True), sketch(vectors).astype(np.float32)
    for row in range(0, 4000, 400):
        nearest_12 = set(np.argsort(-(unit @ unit[row]))[1:13].tolist())
        listed = set(np.argsort(-(short @ short[row]))[: SHORTLIST + 1].tolist())
        assert nearest_12 <= listed


class Patient:
    """Another patient's reading, begun by Anna."""

    def __init__(self, room: Room, key: str) -> None:
        with room.store.reading() as connection:
            number = connection.execute(select(t.patient.c.id).where(t.patient.c.key == key)).scalar()
        self.reading = readings.find_reading(room.store, readings.begin_reading(room.store, number, room.anna))


def _revision(store, value: str) -> None:
    with store.writing() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{value}'"))


def test_a_newer_database_is_refused_and_left_alone(room, where):
    _revision(room.store, "9999")
    with pytest.raises(InputError, match="newer than this Leukoscope"):
        open_store(where)


def test_an_older_database_is_copied_then_migrated(where, run, tmp_path):
    engine = open_store(where).engine
    config = schema._config()
    with engine.connect() as connection, connection.begin():
        t.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert(t.reader).values(name="Old", role="admin", disabled=False, created_at=1))
        connection.execute(insert(t.run).values(digest="d", folder="f", provenance="{}", opened_at=1))
        entry = json.dumps({"ratios": [{"name": "blasts", "value": 0.25}]})
        words = {"key": "k", "label": "l", "specimen": "blood", "center": "", "marks": "[]", "state": "new"}
        counts = dict.fromkeys(("n_cells", "urgency", "n_seen", "n_corrected", "changed_at"), 0)
        row = words | counts | {"run_id": 1, "readers": "", "entry": entry}
        connection.execute(insert(t.patient).values(row))
    engine.dispose()
    store = open_store(where)
    with store.reading() as connection:
        assert connection.execute(select(t.reader.c.name)).scalars().all() == ["Old"]
        assert connection.execute(select(t.access)).all() == []
        assert worklist(connection).lines[0].ratio == {"name": "blasts", "value": 0.25}
        config.attributes["connection"] = connection
        command.check(config)  # the migrations make the tables that the code speaks of
        if "://" in where:
            kept = connection.execute(text("SELECT name FROM before_update_from_0001_1.reader")).scalars().all()
    store.close()
    if "://" not in where:
        copy = sqlite3.connect(f"{where}.before-update-from-0001-1")
        kept = [row[0] for row in copy.execute("SELECT name FROM reader")]
        copy.close()
    assert kept == ["Old"]


def test_a_database_of_version_3_opens_with_all_that_was_read_in_it(tmp_path):
    file = tmp_path / "readings.db"
    plain = sqlite3.connect(file)
    plain.executescript((Path(__file__).parent / "archive/reading-room-0003/readings.sql").read_text("utf-8"))
    plain.close()
    store = open_store(file)
    with store.writing() as connection:
        kinds = connection.execute(select(t.reading.c.id, t.reading.c.kind).order_by(t.reading.c.id)).all()
        assert [kind for _, kind in kinds] == ["first", "second", "adjudication", "first"]
        for number, _ in kinds:
            assert verify(connection, number) is None
            stood = states(connection, number)
            rebuild(connection, number)
            assert states(connection, number) == stood
        lines = worklist(connection).lines
        assert {line.state for line in lines} == {"re-opened", "new"} and all(line.ratio for line in lines)
        found = reviewed_summary(connection)
        assert found["n_patients"] == 1 and found["n_cells"] > 0
        assert {"class": "monocyte", "n": 2, "corrected": 2} in found["rows"]
    store.close()


def test_a_foreign_or_damaged_file_and_a_network_share_are_refused(tmp_path, monkeypatch):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE music (a)")
    other.close()
    (tmp_path / "text.db").write_text("not a database, but long enough to look like something" * 20)
    monkeypatch.setattr(shares, "_mounts", lambda: [("/", "ext4"), (str(tmp_path / "share"), "nfs4")])
    for name, words in (("other.db", "not the reading room's"), ("text.db", "can't open"), ("share/r.db", "nfs4")):
        with pytest.raises(InputError, match=words):
            open_store(tmp_path / name)
    with pytest.raises(InputError, match="a folder"):
        open_store(tmp_path)
    with pytest.raises(InputError, match="postgresql://"):
        open_store("mysql://host/name")


def test_sqlite_keeps_what_it_acknowledged(tmp_path):
    store = open_store(tmp_path / "r.db")
    with store.reading() as connection:
        pragmas = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("synchronous", "journal_mode")}
    store.close()
    assert pragmas == {"synchronous": 2, "journal_mode": "wal"}


def test_photographs_that_moved_are_asked_for_and_known_by_their_digest(tmp_path, run):
    moved = tmp_path / "moved"
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = json.loads((copy / "record.json").read_text())
    names = [Path(f["file"]) for f in record["fields"] if f["status"] != "failed"]
    for field in record["fields"]:
        field["file"] = str(tmp_path / "gone" / Path(field["file"]).name)
    (copy / "record.json").write_text(json.dumps(record))
    room = Room(str(tmp_path / "r.db"), copy)
    photographs = Photographs(room.store)
    missing = photographs.missing(room.patient.id)
    assert missing
    moved.mkdir()
    for number, name in enumerate(names):
        source = name if name.is_absolute() else run / name
        shutil.copy(source, moved / f"renamed-{number}.png")
    (moved / Path(missing[0].file).name).write_bytes(b"another picture of the same name")
    assert photographs.take_folder(moved) >= len(missing)
    assert photographs.missing(room.patient.id) == []
    room.store.close()

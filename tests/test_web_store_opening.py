"""The reading room's database from the start: like cells, older, newer, foreign and damaged files, moved pictures."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from data import make_room, store_room

from leukoscope.errors import DataError, InputError

pytest.importorskip("sqlalchemy", reason="the reading room is not installed: pip install '.[review]'")
from alembic import command  # noqa: E402
from sqlalchemy import insert, select, text  # noqa: E402
from sqlalchemy.exc import IntegrityError  # noqa: E402

from leukoscope.web.cells import CellCache  # noqa: E402
from leukoscope.web.learn import reviewed_summary  # noqa: E402
from leukoscope.web.neighbours import SHORTLIST, Sketches, nearest  # noqa: E402
from leukoscope.web.store import closing, open_store, readings, schema, shares  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.engine import StoreFailed  # noqa: E402
from leukoscope.web.store.events import verify  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.photographs import Photographs  # noqa: E402
from leukoscope.web.store.projection import rebuild, states  # noqa: E402
from leukoscope.web.store.sketches import sketch  # noqa: E402
from leukoscope.web.worklist import worklist  # noqa: E402

cluster, where, run, room = store_room.cluster, store_room.where, store_room.run, store_room.room


def test_like_cells_are_found_by_the_models_features(tmp_path, run):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    make_room.with_features(copy)
    room = store_room.Room(str(tmp_path / "r.db"), copy)
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

    def __init__(self, room: store_room.Room, key: str) -> None:
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


def test_a_full_disk_and_a_file_damaged_while_it_is_open_are_said_in_a_line(tmp_path):
    store = open_store(tmp_path / "r.db")
    with pytest.raises(StoreFailed, match=r"r\.db can't be used: database or disk is full; what was not confirmed"):
        with store.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1")
            connection.exec_driver_sql("CREATE TABLE much AS SELECT hex(zeroblob(100000)) AS x")
    store.engine.dispose()  # the limit goes with its connection
    with store.writing() as connection:  # what is the statement's own fault stays as it is
        connection.exec_driver_sql("CREATE TABLE one (n INTEGER UNIQUE)")
        connection.exec_driver_sql("INSERT INTO one VALUES (1)")
    with pytest.raises(IntegrityError), store.writing() as connection:
        connection.exec_driver_sql("INSERT INTO one VALUES (1)")
    store.close()  # what is in the log goes into the file
    store = open_store(tmp_path / "r.db")
    store.engine.dispose()
    data = (tmp_path / "r.db").read_bytes()
    (tmp_path / "r.db").write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(StoreFailed, match="malformed"), store.reading() as connection:
        connection.execute(select(t.run.c.id)).all()
    store.close()


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [("cell", "score", [1]), ("cell", "score", {}), ("patient", "specimen", {"a": 1}), ("patient", "n_cells", 10**30)],
)
def test_a_record_with_values_of_other_kinds_is_refused_whole(tmp_path, run, place, key, value):
    record = json.loads((run / "record.json").read_text())
    (record["fields"][0]["cells"][0] if place == "cell" else record["patients"][0])[key] = value
    damaged = tmp_path / "run" / "record.json"
    damaged.parent.mkdir()
    damaged.write_text(json.dumps(record))
    store = open_store(tmp_path / "r.db")
    with pytest.raises(DataError, match="no whole record"):
        open_run(store, damaged)
    with store.reading() as connection:
        assert connection.execute(select(t.run.c.id)).all() == []
    store.close()


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
    room = store_room.Room(str(tmp_path / "r.db"), copy)
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

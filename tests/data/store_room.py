"""An open store with a run in it, on SQLite and on PostgreSQL: fixtures that a test file takes by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from data import make_room, postgresql

pytest.importorskip("sqlalchemy", reason="the reading room is not installed: pip install '.[review]'")
from sqlalchemy import select  # noqa: E402

from leukoscope.web.store import open_store, readings  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.accounts import reader_named  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.projection import states  # noqa: E402
from leukoscope.web.store.readings import Edit  # noqa: E402


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

"""A patient's readings, and what the worklist says of the patient: counted on by each edit, anew where readings begin
or end."""

from sqlalchemy import Connection, bindparam, case, func, select, update

from leukoscope.errors import InputError
from leukoscope.web.store import tables as t
from leukoscope.web.store.edits import Standing, taxonomy_of
from leukoscope.web.store.opening import now_ms
from leukoscope.web.store.projection import CellState

_OF_PATIENT = select(t.reading).where(t.reading.c.patient_id == bindparam("patient")).order_by(t.reading.c.id)
_COUNT_PATIENT = (
    update(t.patient)
    .where(t.patient.c.id == bindparam("patient"))
    .values(
        n_seen=t.patient.c.n_seen + bindparam("seen"),
        n_corrected=t.patient.c.n_corrected + bindparam("corrected"),
        changed_at=bindparam("at"),
    )
)


def readings_of(connection: Connection, patient_id: int) -> list:
    """All readings of a patient, oldest first."""
    return connection.execute(_OF_PATIENT, {"patient": patient_id}).all()


def current_reading(connection: Connection, patient_id: int):
    """The reading that stands for the patient: the newest that is no second one; None before the first."""
    query = select(t.reading).where(t.reading.c.patient_id == patient_id, t.reading.c.kind != "second")
    return connection.execute(query.order_by(t.reading.c.id.desc()).limit(1)).one_or_none()


def count_on(
    connection: Connection, reading, had: dict[int, Standing], now: dict[int, CellState], *, time_ms: int
) -> None:
    """Move the worklist's numbers by what an event of a reading changed: its cells as they stood and as they stand."""
    more = {"patient": reading.patient_id, "at": time_ms, "seen": 0, "corrected": 0}
    if reading.kind != "second":  # the worklist counts the reading that stands, and an open one does
        was = [_counts(s.state or CellState(), s.model) for s in had.values()]
        are = [_counts(state, had[c].model) for c, state in now.items()]
        more["seen"] = sum(seen for seen, _ in are) - sum(seen for seen, _ in was)
        more["corrected"] = sum(corrected for _, corrected in are) - sum(corrected for _, corrected in was)
    connection.execute(_COUNT_PATIENT, more)


def _counts(state: CellState, model: str | None) -> tuple[bool, bool]:
    """Whether a cell counts as seen, and as corrected: of another class than the model gave, or added."""
    there = not state.gone
    return there and state.seen, there and state.call is not None and state.call != model


def lock_patient(connection: Connection, patient_id: int):
    """The patient's row, held until the transaction ends."""
    query = select(t.patient).where(t.patient.c.id == patient_id)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise InputError("no such patient")
    return row


def update_patient(connection: Connection, patient_id: int) -> None:
    """Bring the worklist's columns up to what the readings say: all counted anew, where edits count on."""
    of_patient = readings_of(connection, patient_id)
    reading = current_reading(connection, patient_id)
    values = {"state": _patient_state(of_patient), "changed_at": now_ms()}
    if reading is not None:
        rows = t.now.c.reading_id == reading.id
        seen = select(func.count()).where(rows, t.now.c.seen.is_(True), t.now.c.gone.is_(False))
        values["n_seen"] = connection.execute(seen).scalar()
        values["n_corrected"] = _n_corrected(connection, reading)
        ids = {r.reader_id for r in of_patient if r.version == reading.version}
        names = connection.execute(select(t.reader.c.name).where(t.reader.c.id.in_(ids)).order_by(t.reader.c.name))
        values["readers"] = ", ".join(names.scalars())
    connection.execute(update(t.patient).where(t.patient.c.id == patient_id).values(**values))


def _patient_state(of_patient: list) -> str:
    if not of_patient:
        return "new"
    version = max(r.version for r in of_patient)
    newest = [r for r in of_patient if r.version == version]
    if any(r.state == "signed" for r in newest):
        return "signed"
    if any(r.kind in ("second", "adjudication") for r in newest):
        return "second reading"
    return "re-opened" if version > 1 else "in review"


def _n_corrected(connection: Connection, reading) -> int:
    """Cells that now have another class than the model gave, and added ones."""
    names = taxonomy_of(connection, reading.patient_id).names
    model = case(dict(enumerate(names)), value=t.cell.c.called, else_="")
    query = (
        select(func.count())
        .select_from(t.now.join(t.cell, t.now.c.cell_id == t.cell.c.id))
        .where(t.now.c.reading_id == reading.id, t.now.c.gone.is_(False), t.now.c.call != model)
    )
    return connection.execute(query).scalar()

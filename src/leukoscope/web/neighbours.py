"""More like this: the cells nearest to one by the classifier's own features, of the patient and of the database."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from leukoscope.web.room import Room
from leukoscope.web.store import tables as t

SHOWN = 12
MOST = 10_000  # cells of other patients that are searched, the newest first: 60 MB with the bundled classifier


@dataclass(frozen=True, slots=True)
class Near:
    """A like cell: cosine of the angle between the features; patient_key where it is another patient's."""

    cell_id: int
    cosine: float
    model: str
    patient_key: str | None = None


def nearest(connection: Connection, room: Room, reading, cell_id: int) -> dict[str, list[Near]] | None:
    """{"patient", "database"}: the nearest cells, best first; None where the run's model gave no features.

    Other patients' cells are named as their models called them: never by another reader's call.
    """
    own = connection.execute(select(t.feature.c.vector).where(t.feature.c.cell_id == cell_id)).scalar()
    if own is None:
        return None
    cells = room.cells.get(connection, reading.patient_id)
    query = select(t.feature.c.cell_id, t.feature.c.vector, t.cell.c.called, t.patient.c.key).join_from(
        t.feature, t.cell
    )
    query = query.join(t.patient, t.cell.c.patient_id == t.patient.c.id)
    mine = connection.execute(query.where(t.cell.c.patient_id == reading.patient_id)).all()
    same_model = t.patient.c.run_id == cells.run.id
    others = connection.execute(
        query.where(t.cell.c.patient_id != reading.patient_id, same_model).order_by(t.cell.c.id.desc()).limit(MOST)
    ).all()
    names = cells.taxonomy.names
    return {
        "patient": _best(own, [r for r in mine if r.cell_id != cell_id], names, other=False),
        "database": _best(own, others, names, other=True),
    }


def _best(own: bytes, rows: list, names: tuple[str, ...], *, other: bool) -> list[Near]:
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(r.vector for r in rows), np.float16).reshape(len(rows), -1).astype(np.float32)
    target = np.frombuffer(own, np.float16).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(target)
    cosine = vectors @ target / np.maximum(lengths, 1e-9)
    best = np.argsort(-cosine, kind="stable")[:SHOWN]
    return [
        Near(rows[i].cell_id, round(float(cosine[i]), 3), names[rows[i].called], rows[i].key if other else None)
        for i in best.tolist()
    ]

"""More like this: the cells nearest to one by the classifier's own features, of the patient and of the database.

All cells that the same classifier heard are looked through by their sketches (`store.sketches`), kept in memory;
the SHORTLIST nearest of those are compared by all of their features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from sqlalchemy import Connection, select

from leukoscope.web.store import tables as t
from leukoscope.web.store.sketches import SHORT, sketch

SHOWN = 12
SHORTLIST = 300
MOST = 500_000  # cells of other patients that are looked through, the newest: 130 MB
BATCH = 100_000  # cells a matrix product


@dataclass(frozen=True, slots=True)
class Near:
    """A like cell: cosine of the angle between the features; called by its reader where that patient is signed (read),
    else by the model. patient_key where it is another patient's."""

    cell_id: int
    cosine: float
    called: str
    read: bool = False
    patient_key: str | None = None


class Sketches:
    """The sketches of a database's cells by classifier, read once and then as runs are added."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._models: dict[int, str] = {}  # of runs: they never change

    def of_model(self, connection: Connection, model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """cells (N,), their patients (N,), sketches (N, SHORT) float16 of one classifier (`classifier_of`)."""
        with self._lock:
            nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, SHORT), np.float16)
            cells, patients, short = self._kept.get(model, nothing)
            runs = [run for run, heard_by in self._models_of_runs(connection).items() if heard_by == model]
            query = (
                select(t.feature.c.cell_id, t.cell.c.patient_id, t.feature.c.sketch)
                .join_from(t.feature, t.cell)
                .join(t.patient, t.cell.c.patient_id == t.patient.c.id)
                .where(t.patient.c.run_id.in_(runs), t.feature.c.cell_id > (int(cells[-1]) if len(cells) else 0))
                .order_by(t.feature.c.cell_id.desc())
                .limit(MOST)
            )
            new = connection.execute(query).all()[::-1]
            if new:
                numbers = np.array([(r.cell_id, r.patient_id) for r in new], np.int64)
                read = np.frombuffer(b"".join(r.sketch for r in new), np.float16).reshape(len(new), SHORT)
                cells = np.concatenate([cells, numbers[:, 0]])[-MOST:]
                patients = np.concatenate([patients, numbers[:, 1]])[-MOST:]
                short = np.concatenate([short, read])[-MOST:]
                self._kept[model] = cells, patients, short
            return cells, patients, short

    def _models_of_runs(self, connection: Connection) -> dict[int, str]:
        new = set(connection.execute(select(t.run.c.id)).scalars()) - set(self._models)
        rows = connection.execute(select(t.run.c.id, t.run.c.provenance).where(t.run.c.id.in_(new))) if new else ()
        self._models |= {row.id: _model(row) for row in rows}
        return self._models


def nearest(connection: Connection, sketches: Sketches, cells, cell_id: int) -> dict[str, list[Near]] | None:
    """{"patient", "database"}: the nearest cells, best first; None where the run's model gave no features.

    cells  the patient's (`PatientCells`). A cell of a patient who is not signed is named as the model called it: never
           by a reading that is open, which a blind reader must not see.
    """
    vector = connection.execute(select(t.feature.c.vector).where(t.feature.c.cell_id == cell_id)).scalar()
    if vector is None:
        return None
    patient = cells.patient.id
    mine = [cell for cell in cells.ids.tolist() if cell != cell_id]
    ids, patients, short = sketches.of_model(connection, _model(cells.run))
    target = sketch(np.frombuffer(vector, np.float16)[None])[0].astype(np.float32)
    alike = np.concatenate(
        [short[start : start + BATCH].astype(np.float32) @ target for start in range(0, len(short), BATCH)]
        or [np.zeros(0)]
    )
    alike[patients == patient] = -np.inf
    listed = np.argsort(-alike, kind="stable")[:SHORTLIST]
    others = ids[listed[np.isfinite(alike[listed])]].tolist()
    return {
        "patient": _best(connection, vector, mine, cells.taxonomy.names, other=False),
        "database": _best(connection, vector, others, cells.taxonomy.names, other=True),
    }


def _model(run) -> str:
    """The digest of a run's classifier: features of two are not compared. The run's own where the record has none."""
    classifier = json.loads(run.provenance).get("models", {}).get("classifier", {})
    return classifier.get("onnx_sha256") or f"run {run.id}"


def _best(connection: Connection, vector: bytes, ids: Sequence[int], names, *, other: bool) -> list[Near]:
    query = select(t.feature.c.cell_id, t.feature.c.vector, t.cell.c.called, t.patient.c.key)
    query = query.join_from(t.feature, t.cell).join(t.patient, t.cell.c.patient_id == t.patient.c.id)
    rows = []
    for start in range(0, len(ids), 400):
        rows += connection.execute(query.where(t.feature.c.cell_id.in_(ids[start : start + 400]))).all()
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(r.vector for r in rows), np.float16).reshape(len(rows), -1).astype(np.float32)
    target = np.frombuffer(vector, np.float16).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(target)
    cosine = vectors @ target / np.maximum(lengths, 1e-9)
    best = [(rows[i], float(cosine[i])) for i in np.argsort(-cosine, kind="stable")[:SHOWN].tolist()]
    signed = _signed_calls(connection, [row.cell_id for row, _ in best]) if other else {}
    return [
        Near(
            row.cell_id,
            round(value, 3),
            signed.get(row.cell_id) or names[row.called],
            row.cell_id in signed,
            row.key if other else None,
        )
        for row, value in best
    ]


def _signed_calls(connection: Connection, ids: list[int]) -> dict[int, str]:
    """Calls that stand in signed readings, the newest of each cell."""
    query = (
        select(t.now.c.cell_id, t.now.c.call)
        .join_from(t.now, t.reading, t.now.c.reading_id == t.reading.c.id)
        .where(t.now.c.cell_id.in_(ids), t.now.c.call.is_not(None), t.reading.c.state == "signed")
        .order_by(t.reading.c.id)
    )
    return dict(connection.execute(query).all())

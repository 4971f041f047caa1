"""A patient's cells as arrays, and as one reading has them. What the record says never changes, so it is kept."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
from sqlalchemy import Connection, select

from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Cells, FieldKey, is_identified
from leukoscope.web.store import tables as t
from leukoscope.web.store.projection import CellState
from leukoscope.web.store.readings import UNIDENTIFIED

KEPT = 64  # patients whose cells stay in memory: a million cells take about 100 MB


@dataclass(frozen=True, slots=True, eq=False)
class PatientCells:
    """What the record says of one patient's cells; rows in the order of the cells' ids.

    ids (N,) int64; field (N,) row of `fields`; called (N,) column; probs (N, C) float32; boxes (N, 4) px
    score (N,); thumb_at (N,) byte in the run's thumbnail file, -1: none
    place (N,) where the cell stands in the contact sheets, from 0
    identified (N,) bool: whether the model was sure enough to name it, by the run's own line
    """

    patient: object
    run: object
    taxonomy: Taxonomy
    fields: tuple
    ids: np.ndarray
    field: np.ndarray
    called: np.ndarray
    probs: np.ndarray
    boxes: np.ndarray
    score: np.ndarray
    thumb_at: np.ndarray
    place: np.ndarray
    identified: np.ndarray

    def model_call(self, row: int) -> str:
        """What the model said of a cell: its class, or "unidentified"."""
        return self.taxonomy.names[int(self.called[row])] if self.identified[row] else UNIDENTIFIED

    def row_of(self, cell_id: int) -> int | None:
        """Row of one of the record's cells; None for a cell that a reader added."""
        row = int(np.searchsorted(self.ids, cell_id))
        return row if row < len(self.ids) and self.ids[row] == cell_id else None

    def field_row(self, field_id: int) -> int:
        """Row of a field by its id."""
        return next(row for row, field in enumerate(self.fields) if field.id == field_id)


class CellCache:
    """The last patients' cells, shared by all requests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, PatientCells] = OrderedDict()
        self._lock = Lock()

    def get(self, connection: Connection, patient_id: int) -> PatientCells:
        """A patient's cells, from the database where they are not at hand."""
        with self._lock:
            if patient_id in self._kept:
                self._kept.move_to_end(patient_id)
                return self._kept[patient_id]
        cells = _load(connection, patient_id)
        with self._lock:
            self._kept[patient_id] = cells
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return cells


def _load(connection: Connection, patient_id: int) -> PatientCells:
    patient = connection.execute(select(t.patient).where(t.patient.c.id == patient_id)).one()
    run = connection.execute(select(t.run).where(t.run.c.id == patient.run_id)).one()
    fields = connection.execute(select(t.field).where(t.field.c.patient_id == patient_id).order_by(t.field.c.number))
    fields = tuple(fields.all())
    taxonomy = Taxonomy.from_dict(json.loads(run.provenance)["taxonomy"])
    c = t.cell.c
    rows = connection.execute(
        select(c.id, c.field_id, c.called, c.probs, c.score, c.x0, c.y0, c.x1, c.y1, c.thumb_at)
        .where(c.patient_id == patient_id, c.reading_id.is_(None))
        .order_by(c.id)
    ).all()
    row_of_field = {field.id: row for row, field in enumerate(fields)}
    called = np.array([r.called for r in rows], np.int64)
    probs = np.frombuffer(b"".join(r.probs for r in rows), np.float32).reshape(len(rows), len(taxonomy.names))
    sureness = probs.max(1) if len(rows) else np.zeros(0)
    place = np.empty(len(rows), np.int64)
    place[np.lexsort((np.arange(len(rows)), sureness, called))] = np.arange(len(rows))
    return PatientCells(
        patient,
        run,
        taxonomy,
        fields,
        np.array([r.id for r in rows], np.int64),
        np.array([row_of_field[r.field_id] for r in rows], np.int64),
        called,
        probs,
        np.array([(r.x0, r.y0, r.x1, r.y1) for r in rows], np.float64).reshape(-1, 4),
        np.array([r.score for r in rows], np.float64),
        np.array([-1 if r.thumb_at is None else r.thumb_at for r in rows], np.int64),
        place,
        is_identified(probs, least_prob_of(run)),
    )


@dataclass(frozen=True, slots=True)
class AddedCell:
    """A cell that a reader added, as a reading has it."""

    id: int
    field: int
    box: tuple[float, float, float, float]


def added_cells(connection: Connection, cells: PatientCells, stood: dict[int, CellState]) -> list[AddedCell]:
    """The added cells of a reading, in the order they were added; those taken away again left out."""
    known = set(cells.ids.tolist())
    wanted = [cell for cell, state in stood.items() if cell not in known and not state.gone]
    rows = connection.execute(select(t.cell).where(t.cell.c.id.in_(wanted)).order_by(t.cell.c.id)) if wanted else ()
    return [AddedCell(r.id, cells.field_row(r.field_id), stood[r.id].box or (r.x0, r.y0, r.x1, r.y1)) for r in rows]


def as_called(cells: PatientCells) -> Calls:
    """The model's calls of all cells of a patient, for `count`."""
    return _calls(cells, cells.probs)


def as_read(cells: PatientCells, calls: dict[int, str], *, only_called: bool = False) -> tuple[Calls, int]:
    """(calls as a reading has them, cells that a reader left in "unidentified") for `count`.

    calls        cell id -> what a reader called it (`projection.calls_of`)
    only_called  leave out the cells that nobody called: what a reader may see to whom the model's calls are hidden
    A cell that a reader called is of that class with certainty, one that nobody called is as the model called it;
    "unidentified" and "not a cell" are in no class.
    """
    columns = {name: column for column, name in enumerate(cells.taxonomy.names)}
    ids = np.fromiter(calls, np.int64, len(calls))
    to = np.array([columns.get(call, -1) for call in calls.values()], np.int64)
    rows = np.searchsorted(cells.ids, ids)
    known = (rows < len(cells.ids)) & (
        cells.ids[np.minimum(rows, len(cells.ids) - 1)] == ids if len(cells.ids) else False
    )
    certain = np.zeros((len(ids), len(columns)), np.float32)
    certain[np.flatnonzero(to >= 0), to[to >= 0]] = 1
    probs, kept = cells.probs.copy(), np.full(len(cells.ids), not only_called)
    probs[rows[known]], kept[rows[known]] = certain[known], to[known] >= 0
    everything = np.concatenate([probs[kept], certain[~known & (to >= 0)]])
    return _calls(cells, everything), sum(call == UNIDENTIFIED for call in calls.values())


def _calls(cells: PatientCells, probs: np.ndarray) -> Calls:
    """All of a patient's cells as those of one field: `count` needs no place of a cell. What the model was too unsure
    of to name stays unidentified, by the run's own line."""
    patient = cells.patient
    key = FieldKey("all", "all", patient.label, patient.center, patient.specimen)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(probs), 1))
    located = Cells(key, boxes, np.ones(len(probs), np.float32))
    return Calls(located, probs, cells.taxonomy, least_prob=least_prob_of(cells.run))


def least_prob_of(run) -> float:
    """The run's line below which a cell is not identified; 0 in records that know none."""
    return json.loads(run.provenance).get("unidentified_below", 0.0)


def expected_costs(cells: PatientCells, costs: np.ndarray) -> np.ndarray:
    """(N,) what it is expected to cost to leave each cell as the model called it: the sum over classes of probability
    times the cost (`Settings.cost_matrix`) of that class being left there."""
    return np.einsum("nc,cn->n", cells.probs, costs[:, cells.called]) if len(cells.ids) else np.zeros(0)

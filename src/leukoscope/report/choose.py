"""What a report shows of a record that may be far larger: the order of patients, the gallery, the annotated fields."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leukoscope.entries import PatientEntry, RatioEntry
from leukoscope.errors import DataError
from leukoscope.practice import BAND_EDGES
from leukoscope.report.record import Record, counted_cells

GALLERY_CAP = 3000  # cells of a report in one file
PAGE_CELLS = 240  # cells of a patient's own page, so that it stays below 3 MB
SHOWN_CELLS = 48_000  # of all pages together: a run of a thousand patients shows fewer of each
LEAST_CELLS = 24  # of a page, however many patients there are
WORST_CELLS = 20  # shown first, whatever their class, and on the printed page
PICTURE_CAP = 60  # fields of a report in one file
PAGE_PICTURES = 6  # fields of a patient's own page
# Flags of leukaemic cells that are in no blast ratio.
HIDDEN_FROM_RATIO = ("unsure_apl", "erythroid_pattern", "composite_above_blasts")
URGENT_PICTURES = 6  # fields shown of each suspicious patient before the others get theirs


@dataclass(frozen=True, slots=True, eq=False)
class CellIndex:
    """One entry a cell, in the record's order: row of its patient, column of its class, suspicion, field, number.

    statuses  per patient row: a Counter of field statuses ("ok", "poor", "failed")
    n_fields  all fields of the record
    """

    patient: np.ndarray  # (N,) int32
    column: np.ndarray  # (N,) int32
    suspicion: np.ndarray  # (N,) float32
    field: np.ndarray  # (N,) int32
    number: np.ndarray  # (N,) int32
    statuses: tuple[Counter, ...]
    field_patients: np.ndarray  # (F,) int32, row of each field's patient
    n_fields: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is shown. Patient rows and class columns as in the record.

    order     patient rows, the most urgent first
    worst     patient row -> the WORST_CELLS most suspicious cells of any class, [(field, number)]
    gallery   (patient row, column) -> the other cells shown, [(field, number)], most suspicious first
    totals    (patient row, column) -> cells in the record
    pictures  patient row -> field indices to show annotated, most suspicious first
    """

    order: tuple[int, ...]
    worst: dict[int, list[tuple[int, int]]]
    gallery: dict[tuple[int, int], list[tuple[int, int]]]
    totals: dict[tuple[int, int], int]
    pictures: dict[int, list[int]]

    def cells(self) -> set[tuple[int, int]]:
        return {cell for group in (self.gallery, self.worst) for cells in group.values() for cell in cells}

    def shown(self, row: int, columns: Iterable[int]) -> int:
        """Cells of a patient's classes that are shown."""
        return len(self.worst.get(row, ())) + sum(len(self.gallery.get((row, c), ())) for c in columns)

    def picture_fields(self) -> set[int]:
        return {field for fields in self.pictures.values() for field in fields}


def blast_ratio(patient: PatientEntry) -> RatioEntry | None:
    """The patient's blast ratio as the record holds it, or None."""
    return next((r for r in patient["ratios"] if r["name"] == "blasts"), None)


def has_flag(patient: PatientEntry, code: str) -> bool:
    return any(flag["code"] == code for flag in patient["flags"])


def banded_ratio(patient: PatientEntry) -> RatioEntry | None:
    """The ratio that has a band, else the blast ratio, or None."""
    return next((r for r in patient["ratios"] if r["band"] is not None), blast_ratio(patient))


def urgency(patient: PatientEntry) -> tuple:
    """Sort key: suspected APL first, then other findings that a blast ratio hides, then the blast ratio.

    The ratio goes by the lower end of its interval, so that 1 of 5 does not stand above 18 of 100. Those without a
    ratio come last; then the id.
    """
    ratio = blast_ratio(patient)
    known = ratio is not None and ratio["value"] is not None
    low, value = (ratio["low"], ratio["value"]) if known else (-1.0, -1.0)
    hidden = any(has_flag(patient, code) for code in HIDDEN_FROM_RATIO)
    return (not has_flag(patient, "suspected_apl"), not hidden, -low, -value, patient["patient_id"])


def is_suspicious(patient: PatientEntry) -> bool:
    """Whether this patient's fields come before the even share of pictures."""
    ratio = blast_ratio(patient)
    high = bool(ratio and ratio["value"] is not None and ratio["value"] >= BAND_EDGES[0])
    return high or any(has_flag(patient, code) for code in ("suspected_apl", "review_blasts", *HIDDEN_FROM_RATIO))


def index_cells(record: Record) -> CellIndex:
    """One pass over the record. DataError where a field names a patient or a class that the record does not have."""
    rows = {patient["patient_id"]: row for row, patient in enumerate(record.patients)}
    columns = {name: column for column, name in enumerate(record.taxonomy.names)}
    patient, column, field_, number = array("i"), array("i"), array("i"), array("i")
    suspicion, field_patients = array("f"), array("i")
    statuses = [Counter() for _ in record.patients]
    for index, field in enumerate(record.fields()):
        row = rows.get(field["patient_id"])
        if row is None:
            raise DataError(
                f"{record.path}: fields[{index}] is of patient {field['patient_id']!r}, who is not in patients"
            )
        field_patients.append(row)
        statuses[row][field["status"]] += 1
        counted = {id(cell) for cell in counted_cells(field)}  # a cell that was seen twice is shown once
        for cell_number, cell in enumerate(field["cells"]):
            if id(cell) not in counted:
                continue
            if cell["class"] not in columns:
                raise DataError(
                    f"{record.path}: fields[{index}] has a cell of class {cell['class']!r}, not in the taxonomy"
                )
            patient.append(row)
            column.append(columns[cell["class"]])
            suspicion.append(cell["suspicion"])
            field_.append(index)
            number.append(cell_number)
    as_array = [
        np.frombuffer(a, a.typecode) if len(a) else np.zeros(0, np.int32)
        for a in (patient, column, suspicion, field_, number)
    ]
    fields = np.frombuffer(field_patients, "i") if len(field_patients) else np.zeros(0, np.int32)
    return CellIndex(*as_array, tuple(statuses), fields, len(fields))


def choose(
    record: Record,
    index: CellIndex,
    *,
    gallery_cap: int = GALLERY_CAP,
    picture_cap: int = PICTURE_CAP,
    pages: bool = False,
) -> Plan:
    """Decide what is shown, from the index alone; the same record always gives the same plan.

    pages  every patient has a page of its own: the caps are then PAGE_CELLS and PAGE_PICTURES of each
    """
    n_patients = len(record.patients)
    order = tuple(sorted(range(n_patients), key=lambda row: urgency(record.patients[row])))
    n_classes = len(record.taxonomy.names)
    group = index.patient * n_classes + index.column
    by_group = np.lexsort((index.number, index.field, -index.suspicion, group))
    cap = gallery_cap
    if pages:
        cap = max(LEAST_CELLS, min(PAGE_CELLS, SHOWN_CELLS // max(n_patients, 1)))
    shown = _gallery_choice(index, group, by_group, cap, owner=index.patient if pages else np.zeros_like(index.patient))
    worst, gallery = _arranged(index, by_group[shown[by_group]])
    codes, counts = np.unique(group, return_counts=True)
    totals = {divmod(int(code), n_classes): int(count) for code, count in zip(codes, counts, strict=True)}
    urgent = [row for row in order if is_suspicious(record.patients[row])]
    if pages:
        pictures = _choose_pictures(index, order, [], PAGE_PICTURES * n_patients, most=PAGE_PICTURES)
    else:
        pictures = _choose_pictures(index, order, urgent, picture_cap, most=picture_cap)
    return Plan(order, worst, gallery, totals, pictures)


def _arranged(index: CellIndex, rows: np.ndarray) -> tuple[dict, dict]:
    """The cells of `rows` (in the gallery's order): each patient's most suspicious ones, and the others by class."""
    by_patient = rows[np.lexsort((index.number[rows], index.field[rows], -index.suspicion[rows], index.patient[rows]))]
    worst: dict[int, list[tuple[int, int]]] = defaultdict(list)
    first = set()
    for row in by_patient:
        of_patient = worst[int(index.patient[row])]
        if len(of_patient) < WORST_CELLS:
            of_patient.append((int(index.field[row]), int(index.number[row])))
            first.add(int(row))
    gallery: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if int(row) not in first:
            gallery[int(index.patient[row]), int(index.column[row])].append(
                (int(index.field[row]), int(index.number[row]))
            )
    return dict(worst), dict(gallery)


def _gallery_choice(
    index: CellIndex, group: np.ndarray, by_group: np.ndarray, cap: int, *, owner: np.ndarray
) -> np.ndarray:
    """(N,) bool. Of each owner's cells at most `cap`: half for its most suspicious ones, the rest the top of each
    patient's each class. owner (N,): the patient, or the same for all."""
    rank = _ranks(group, by_group)  # within a patient's class
    most = np.lexsort((index.number, index.field, -index.suspicion, owner))
    shown = _ranks(owner, most) < cap // 2
    shown |= np.bincount(owner, minlength=1)[owner] <= cap
    rest = np.lexsort((index.number, index.field, -index.suspicion, rank, owner))
    rest = rest[~shown[rest]]
    left = cap - np.bincount(owner, shown, minlength=int(owner.max(initial=0)) + 1)
    turn = np.empty(len(group), np.int64)
    turn[rest] = _ranks(owner[rest], np.arange(len(rest)))
    shown[rest[turn[rest] < left[owner[rest]]]] = True
    return shown


def _ranks(keys: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(N,) place of each row among those of its key, in `order`, which keeps rows of one key together."""
    ranks = np.empty(len(keys), np.int64)
    if len(keys):
        starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
        ranks[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(np.r_[starts, len(keys)]))
    return ranks


def _choose_pictures(
    index: CellIndex, order: tuple[int, ...], urgent: list[int], cap: int, *, most: int
) -> dict[int, list[int]]:
    """Fields with cells: up to URGENT_PICTURES of each suspicious patient, then one a patient, round by round, until
    `cap` in all or `most` of each."""
    weight = np.bincount(index.field, index.suspicion, minlength=index.n_fields)  # summed suspicion a field
    queues: dict[int, list[int]] = {row: [] for row in order}
    for field in np.lexsort((np.arange(index.n_fields), -weight)):
        queues[int(index.field_patients[field])].append(int(field))
    with_cells = set(np.unique(index.field).tolist())
    queues = {row: [f for f in fields if f in with_cells] for row, fields in queues.items()}
    chosen: dict[int, list[int]] = {row: [] for row in order}
    left = cap
    for row in urgent:
        take = min(URGENT_PICTURES, left)
        chosen[row], queues[row] = queues[row][:take], queues[row][take:]
        left -= len(chosen[row])
    while left and any(queue and len(chosen[row]) < most for row, queue in queues.items()):
        for row in order:
            if left and queues[row] and len(chosen[row]) < most:
                chosen[row].append(queues[row].pop(0))
                left -= 1
    return chosen

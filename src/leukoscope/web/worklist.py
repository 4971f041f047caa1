"""The worklist: one page of patients, filtered, sorted and searched by the database."""

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, func, select

from leukoscope.errors import InputError
from leukoscope.web.store import tables as t

A_PAGE = 100
STATES = ("new", "in review", "second reading", "re-opened", "signed")
SORTS = ("urgency", "blasts", "cells", "changed")
_SHOWN = ("id", "key", "label", "specimen", "state", "readers", "marks", "ratio", "read_ratio", "n_cells", "n_seen")
_ROWS = select(*(t.patient.c[name] for name in _SHOWN), t.patient.c.changed_at).where(
    t.patient.c.id.in_(bindparam("ids", expanding=True))
)
_STATES = select(t.patient.c.state, func.count(t.patient.c.id)).group_by(t.patient.c.state)


@dataclass(frozen=True, slots=True)
class Line:
    """One patient of the worklist. ratio: as signed, else the model's: never an open reading's, so that a
    second reader is not told of the first's."""

    key: str
    label: str
    specimen: str
    state: str
    readers: str
    marks: tuple[str, ...]
    ratio: dict | None
    n_cells: int
    n_seen: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the worklist, of how many, and how many patients are in each state."""

    lines: tuple[Line, ...]
    page: int
    n_pages: int
    n_found: int
    states: dict[str, int]

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)


def worklist(
    connection: Connection,
    *,
    state: str | None = None,
    sort: str = "urgency",
    search: str = "",
    mark: str | None = None,
    page: int = 1,
) -> Page:
    """One page. state: of STATES, "open" (all but signed) or None; search: part of a label, of any case; mark: a code
    that the record notes of the patient, such as "suspected_apl"."""
    if state is not None and state not in (*STATES, "open"):
        raise InputError(f"a state is one of open, {', '.join(STATES)}, got {state!r}")
    if sort not in SORTS:
        raise InputError(f"a worklist is sorted by one of {', '.join(SORTS)}, got {sort!r}")
    p = t.patient.c
    wanted = []
    if state == "open":
        wanted.append(p.state != "signed")
    elif state is not None:
        wanted.append(p.state == state)
    if search.strip():
        wanted.append(func.lower(p.label).contains(search.strip().lower(), autoescape=True))
    if mark is not None:
        wanted.append(p.marks.contains(json.dumps(mark), autoescape=True))
    share = func.coalesce(p.share, -1.0)
    orders = {
        "urgency": (p.urgency, share.desc(), p.id),
        "blasts": (share.desc(), p.id),
        "cells": (p.n_cells, p.id),
        "changed": (p.changed_at.desc(), p.id),
    }
    n_found = connection.execute(select(func.count(p.id)).where(*wanted)).scalar()
    n_pages = max(1, -(-n_found // A_PAGE))
    page = min(page, n_pages)
    of_page = select(p.id).where(*wanted).order_by(*orders[sort]).limit(A_PAGE).offset((page - 1) * A_PAGE)
    ids = connection.execute(of_page).scalars().all()
    rows = {row.id: row for row in connection.execute(_ROWS, {"ids": ids})}
    counts = dict(connection.execute(_STATES).all())
    lines = tuple(_line(rows[i]) for i in ids)
    return Page(lines, page, n_pages, n_found, {name: counts.get(name, 0) for name in STATES})


def _line(row) -> Line:
    ratio = row.read_ratio or row.ratio
    return Line(
        row.key,
        row.label,
        row.specimen,
        row.state,
        row.readers,
        tuple(json.loads(row.marks)),
        json.loads(ratio) if ratio else None,
        row.n_cells,
        row.n_seen,
        row.changed_at,
    )


def reading_times(connection: Connection) -> list[float]:
    """Seconds of active reading of each signed patient, all readers of its signed version together, sorted."""
    r = t.reading.c
    rows = connection.execute(
        select(func.sum(r.active_ms))
        .join_from(t.signed, t.reading, (r.patient_id == t.signed.c.patient_id) & (r.version == t.signed.c.version))
        .group_by(t.signed.c.id)
    )
    return sorted(float(ms) / 1000 for ms in rows.scalars())

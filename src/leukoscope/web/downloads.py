"""A signed record as CSV and XLSX, and a patient's audit trail: views that hold nothing the database does not."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from leukoscope.report.words import USE, class_words, none_seen_words, ratio_words
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import verify
from leukoscope.web.store.readings import readings_of

CELL_COLUMNS = ("cell", "file", "x0", "y0", "x1", "y1", "model", "class", "call", "reader", "seen", "hidden")
AUDIT_COLUMNS = ("at", "reader", "reading", "version", "event", "what", "detail", "hash")


def when(ms: int) -> str:
    """2026-11-26 14:05:09 UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def cells_csv(record: dict) -> str:
    """One line a cell of a signed record; blanks where nobody called it. Nothing is altered: import it as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CELL_COLUMNS)
    writer.writerows(_cell_values(cell) for cell in record["cells"])
    return out.getvalue()


def _cell_values(cell: dict) -> list:
    flags = [int(cell["seen"]), int(cell["hidden"])]
    named = [cell[k] if cell[k] is not None else "" for k in ("model", "class", "call", "reader")]
    return [cell["cell"], cell["file"], *cell["box"], *named, *flags]


def summary_rows(record: dict) -> list[tuple[str, str]]:
    """What heads every download: names and values as text."""
    signed = record["signed"]
    active = sum(r["active_ms"] for r in record["readings"]) / 1000
    rows = [
        ("Patient", record["patient_id"]),
        ("Specimen", record["specimen"]),
        ("Smears", ", ".join(record["smear_ids"])),
        ("Version", str(record["version"])),
        ("Signed by", signed["by"]),
        ("Signed at", when(signed["at"])),
        ("Read by", ", ".join(f"{r['reader']} ({r['kind']})" for r in record["readings"])),
        ("Active reading", f"{active:.0f} s"),
        ("Cells counted", str(record["numbers"]["n_counted"])),
        ("Unidentified", str(record["numbers"]["unidentified"])),
    ]
    rows += [(f"{class_words(r['name'])}", ratio_words(r)) for r in record["numbers"]["ratios"]]
    none_seen = [words for r in record["numbers"]["ratios"] if (words := none_seen_words(r))]
    rows += [("None seen", words) for words in none_seen]
    rows += [("Note", flag["text"]) for flag in record["numbers"]["flags"]]
    return rows


def workbook(record: dict) -> bytes:
    """XLSX with the sheets Summary, Differential and Cells. Text stays text: no cell is ever a formula."""
    from openpyxl import Workbook

    book = Workbook()
    sheets = (
        ("Summary", [("Use", USE), *summary_rows(record)]),
        ("Differential", [("class", "model", "read", "share"), *_differential_values(record)]),
        ("Cells", [CELL_COLUMNS, *(_cell_values(c) for c in record["cells"])]),
    )
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for number, row in enumerate(rows, 1):
            for column, value in enumerate(row, 1):
                _set(sheet.cell(number, column), value)
        sheet.freeze_panes = "A2"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _set(cell, value: object) -> None:
    if isinstance(value, str):
        cell.value = "".join(c for c in value if c >= " " or c in "\t\n")
        cell.data_type = "s"
    else:
        cell.value = value


def _differential_values(record: dict) -> list[tuple]:
    rows = record["numbers"]["differential"]
    return [(r["class"], r["before"], r["count"], r["share"]) for r in rows]


def audit_rows(connection: Connection, patient_id: int) -> list[dict]:
    """Who saw and changed what of a patient, oldest first; a chain that does not hold says so in its own row."""
    names = dict(connection.execute(select(t.reader.c.id, t.reader.c.name)).all())
    rows = []
    for reading in readings_of(connection, patient_id):
        log = connection.execute(select(t.event).where(t.event.c.reading_id == reading.id).order_by(t.event.c.seq))
        said = {"reading": reading.kind, "version": reading.version}
        for e in log:
            what, detail = _event_words(e.kind, json.loads(e.payload))
            rows.append(
                said
                | {
                    "ms": e.at,
                    "reader": names[e.reader_id],
                    "event": e.seq,
                    "what": what,
                    "detail": detail,
                    "hash": e.hash,
                }
            )
        broken = verify(connection, reading.id)
        if broken:
            rows.append(
                said
                | {"ms": reading.opened_at, "reader": "", "event": 0, "what": "TAMPERED", "detail": broken, "hash": ""}
            )
    seen = connection.execute(select(t.access).where(t.access.c.patient_id == patient_id))
    rows += [_plain(a.at, names[a.reader_id], "saw", a.what) for a in seen]
    sent = connection.execute(
        select(t.sent, t.signed.c.version).join_from(t.sent, t.signed).where(t.signed.c.patient_id == patient_id)
    )
    rows += [_plain(s.at, names[s.reader_id], "sent", f"version {s.version} to {s.system}") for s in sent]
    return sorted((row | {"at": when(row["ms"])} for row in rows), key=lambda row: (row["ms"], row["event"]))


def _plain(ms: int, reader: str, what: str, detail: str) -> dict:
    said = {"ms": ms, "reader": reader, "reading": "", "version": "", "event": 0}
    return said | {"what": what, "detail": detail, "hash": ""}


def _event_words(kind: str, payload: dict) -> tuple[str, str]:
    """(what, detail) of an event, for people."""
    cells = list(payload.get("cells") or ())
    which = f"cell {', '.join(str(c) for c in cells[:8])}" if cells else ""
    which += f" and {len(cells) - 8} more" if len(cells) > 8 else ""
    details = {
        "call": f"{which}: {payload.get('call')}",
        "add": f"{which}: {payload.get('call')}",
        "move": f"{which} to {payload.get('box')}",
        "undo": f"event {payload.get('of')} taken back",
        "redo": f"event {payload.get('of')} brought back",
        "note": payload.get("text", ""),
        "mode": "model's calls hidden" if payload.get("hidden") else "model's calls shown",
        "read": f"{payload.get('ms', 0) / 1000:.0f} s",
        "reopen": payload.get("reason", ""),
        "sign": payload.get("digest", ""),
        "start": f"{len(cells)} cells taken over" if cells else "",
        "done": "",
    }
    return kind, details.get(kind, which)


def audit_csv(rows: list[dict]) -> str:
    """The audit trail as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(AUDIT_COLUMNS)
    writer.writerows([row[column] for column in AUDIT_COLUMNS] for row in rows)
    return out.getvalue()

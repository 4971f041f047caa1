"""A patient's audit trail: a view that holds nothing the database does not."""

import json

from sqlalchemy import Connection, select

from leukoscope.exchange.workbook import when
from leukoscope.files import table_bytes
from leukoscope.web.store import tables as t
from leukoscope.web.store.accounts import reader_names
from leukoscope.web.store.events import verify
from leukoscope.web.store.patients import readings_of

AUDIT_COLUMNS = ("at", "reader", "reading", "version", "event", "what", "detail", "hash")


def audit_rows(connection: Connection, patient_id: int) -> list[dict]:
    """Who saw and changed what of a patient, oldest first; a chain that does not hold says so in its own row."""
    names = reader_names(connection)
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
        "note": (f"cell {payload['cell']}: " if payload.get("cell") else "") + payload.get("text", ""),
        "mode": "model's calls hidden" if payload.get("hidden") else "model's calls shown",
        "read": f"{payload.get('ms', 0) / 1000:.0f} s",
        "reopen": payload.get("reason", ""),
        "sign": payload.get("digest", ""),
        "start": f"{len(cells)} cells taken over" if cells else "",
        "done": "",
    }
    return kind, details.get(kind, which)


def audit_csv(rows: list[dict]) -> bytes:
    """The audit trail as CSV."""
    return table_bytes([AUDIT_COLUMNS, *([row[column] for column in AUDIT_COLUMNS] for row in rows)])

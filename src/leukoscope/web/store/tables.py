"""The tables (docs/reading-room.md names them). What is marked immutable is never updated.

Times are milliseconds since 1970 UTC. `key` is a random text for addresses and logs; `label` is what people call a
patient and stands in neither.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only in INTEGER


def _id() -> Column:
    return Column("id", _ID, primary_key=True)


def _of(table: str, *, null: bool = False, index: bool = False) -> Column:
    return Column(f"{table}_id", _ID, ForeignKey(f"{table}.id"), nullable=null, index=index)


# Immutable: one analysed record. Opening the same digest twice is the same run.
run = Table(
    "run",
    metadata,
    _id(),
    Column("digest", Text, nullable=False, unique=True),
    Column("folder", Text, nullable=False),
    Column("provenance", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
)

# What the record says is immutable; the columns from state on follow from the log.
patient = Table(
    "patient",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    _of("run", index=True),
    Column("label", Text, nullable=False, index=True),
    Column("specimen", Text, nullable=False),
    Column("center", Text, nullable=False),
    Column("entry", Text, nullable=False),
    Column("n_cells", Integer, nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("marks", Text, nullable=False),
    Column("ratio", Text),
    Column("state", Text, nullable=False),
    Column("share", Float),
    Column("read_ratio", Text),
    Column("n_seen", Integer, nullable=False),
    Column("n_corrected", Integer, nullable=False),
    Column("readers", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    # All that a worklist filters, sorts and counts by: it reads no row before it knows which hundred to show.
    Index("patient_listed", "state", "urgency", "share", "id", "n_cells", "changed_at", "label"),
)

# Immutable, but for where the photograph now is. region: the record's, of a field that is a part of a slide.
# elsewhere: boxes of cells that this field shows and another counts.
field = Table(
    "field",
    metadata,
    _id(),
    _of("patient"),
    Column("number", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("sha256", Text, index=True),
    Column("smear", Text, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("um_per_px", Float),
    Column("scale_from", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("place", Text),
    Column("pages", Text),
    Column("region", Text),
    Column("elsewhere", Text),
    Index("field_of_patient", "patient_id", "number"),
)

# Immutable. probs: float32, the taxonomy's order. `reading_id` is set for cells that a reader added.
cell = Table(
    "cell",
    metadata,
    _id(),
    _of("patient"),
    _of("field"),
    Column("number", Integer, nullable=False),
    Column("reading_id", _ID),
    Column("called", Integer),
    Column("probs", LargeBinary),
    Column("score", Float, nullable=False),
    Column("x0", Float, nullable=False),
    Column("y0", Float, nullable=False),
    Column("x1", Float, nullable=False),
    Column("y1", Float, nullable=False),
    Column("thumb_at", BigInteger),
    Column("contour", Text),
    Index("cell_of_patient", "patient_id", "id"),
)

# Immutable: what the classifier hears of a cell, float16, and its sketch (`sketches`).
feature = Table(
    "feature",
    metadata,
    Column("cell_id", _ID, ForeignKey("cell.id"), primary_key=True),
    Column("vector", LargeBinary, nullable=False),
    Column("sketch", LargeBinary),
)

reader = Table(
    "reader",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("password", Text),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# state, n_events, active_ms and hidden are projected from the log.
reading = Table(
    "reading",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    _of("patient", index=True),
    _of("reader"),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("parents", Text, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("active_ms", BigInteger, nullable=False),
    Column("n_events", Integer, nullable=False),
)

# Append only. hash = SHA-256 of the previous event's hash in this reading and of this row.
event = Table(
    "event",
    metadata,
    _id(),
    _of("reading"),
    Column("seq", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    _of("reader"),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("op", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("reading_id", "seq"),
    UniqueConstraint("reading_id", "op"),
)

# The projection of the log, made anew at any time by `projection.rebuild`.
now = Table(
    "now",
    metadata,
    Column("reading_id", _ID, ForeignKey("reading.id"), primary_key=True),
    Column("cell_id", _ID, ForeignKey("cell.id"), primary_key=True),
    Column("call", Text),
    Column("seen", Boolean, nullable=False),
    Column("box", Text),
    Column("gone", Boolean, nullable=False),
    Column("hidden", Boolean, nullable=False),
    Column("seq", Integer, nullable=False),
    _of("reader"),
)
step = Table(
    "step",
    metadata,
    Column("reading_id", _ID, ForeignKey("reading.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("done", Boolean, nullable=False),
)
touched = Table(
    "touched",
    metadata,
    Column("cell_id", _ID, ForeignKey("cell.id"), primary_key=True),
    Column("event_id", _ID, ForeignKey("event.id"), primary_key=True),
)

# Immutable: a signed record as canonical JSON.
signed = Table(
    "signed",
    metadata,
    _id(),
    _of("patient", index=True),
    _of("reading"),
    Column("version", Integer, nullable=False),
    _of("reader"),
    Column("at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Column("digest", Text, nullable=False),
    UniqueConstraint("patient_id", "version"),
)
# What a signed record teaches: of each class [cells that were seen, corrected ones]. Apart, for records are large.
taught = Table(
    "taught",
    metadata,
    Column("signed_id", _ID, ForeignKey("signed.id"), primary_key=True),
    Column("patient_id", _ID, nullable=False),
    Column("version", Integer, nullable=False),
    Column("counts", Text, nullable=False),
)
sent = Table(
    "sent",
    metadata,
    _id(),
    _of("signed", index=True),
    _of("reader"),
    Column("system", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Who saw what: append only.
access = Table(
    "access",
    metadata,
    _id(),
    _of("patient", index=True),
    _of("reader"),
    Column("what", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Server-side sessions and tokens for scripts: only a digest of the secret is kept.
login = Table(
    "login",
    metadata,
    _id(),
    Column("secret", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    _of("reader", null=True),
    Column("form_token", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False),
)
attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("who", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("attempt_of", "who", "at"),
)

# The laboratory's settings as TOML: the newest row holds.
settings = Table(
    "settings",
    metadata,
    _id(),
    _of("reader", null=True),
    Column("at", BigInteger, nullable=False),
    Column("toml", Text, nullable=False),
)

"""The tables (docs/reading-room.md names them). What is marked immutable is never updated.

Times are milliseconds since 1970 UTC. `key` is a random text for addresses and logs; `label` is what people call a
patient and stands in neither.
"""

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


def _key(table: str) -> Column:
    return Column(f"{table}_id", _ID, ForeignKey(f"{table}.id"), primary_key=True)


def _unique(name: str) -> Column:
    return Column(name, Text, nullable=False, unique=True)


def _required(kind: type, *names: str) -> list[Column]:
    return [Column(name, kind, nullable=False) for name in names]


def _optional(kind: type, *names: str) -> list[Column]:
    return [Column(name, kind) for name in names]


def _of(table: str, *, null: bool = False, index: bool = False) -> Column:
    return Column(f"{table}_id", _ID, ForeignKey(f"{table}.id"), nullable=null, index=index)


def _numbered(name: str, *parts: Column | Index | UniqueConstraint) -> Table:
    return Table(name, metadata, _id(), *parts)


# Immutable: one analysed record. Opening the same digest twice is the same run.
run = _numbered("run", _unique("digest"), *_required(Text, "folder", "provenance"), *_required(BigInteger, "opened_at"))

# What the record says is immutable; the columns from state on follow from the log.
patient = _numbered(
    "patient",
    _unique("key"),
    _of("run", index=True),
    Column("label", Text, nullable=False, index=True),
    *_required(Text, "specimen", "center", "entry", "marks", "state", "readers"),
    *_required(Integer, "n_cells", "urgency", "n_seen", "n_corrected"),
    *_optional(Text, "ratio", "read_ratio"),
    *_optional(Float, "share"),
    *_required(BigInteger, "changed_at"),
    # All that a worklist filters, sorts and counts by: it reads no row before it knows which hundred to show.
    Index("patient_listed", "state", "urgency", "share", "id", "n_cells", "changed_at", "label"),
)

# Immutable, but for where the photograph now is. region: the record's, of a field that is a part of a slide.
# elsewhere: boxes of cells that this field shows and another counts.
field = _numbered(
    "field",
    _of("patient"),
    *_required(Integer, "number"),
    *_required(Text, "file", "smear", "status"),
    Column("sha256", Text, index=True),
    *_optional(Integer, "width", "height"),
    *_optional(Float, "um_per_px"),
    *_optional(Text, "scale_from", "reason", "place", "pages", "region", "elsewhere"),
    Index("field_of_patient", "patient_id", "number"),
)

# Immutable. probs: float32, the taxonomy's order. `reading_id` is set for cells that a reader added.
cell = _numbered(
    "cell",
    _of("patient"),
    _of("field"),
    *_required(Integer, "number"),
    *_optional(_ID, "reading_id"),
    *_optional(Integer, "called"),
    *_optional(LargeBinary, "probs"),
    *_required(Float, "score", "x0", "y0", "x1", "y1"),
    *_optional(BigInteger, "thumb_at"),
    *_optional(Text, "contour"),
    Index("cell_of_patient", "patient_id", "id"),
)

# Immutable: what the classifier hears of a cell, float16, and its sketch (`sketches`).
feature = Table("feature", metadata, _key("cell"), *_required(LargeBinary, "vector"), *_optional(LargeBinary, "sketch"))

reader = _numbered(
    "reader",
    _unique("name"),
    *_required(Text, "role"),
    *_optional(Text, "password"),
    *_required(Boolean, "disabled"),
    *_required(BigInteger, "created_at"),
)

# state, n_events, active_ms and hidden are projected from the log.
reading = _numbered(
    "reading",
    _unique("key"),
    _of("patient", index=True),
    _of("reader"),
    *_required(Text, "kind", "state", "parents"),
    *_required(Integer, "version", "n_events"),
    *_required(Boolean, "hidden"),
    *_required(BigInteger, "opened_at", "active_ms"),
    *_optional(BigInteger, "closed_at"),
)

# Append only. hash = SHA-256 of the previous event's hash in this reading and of this row.
event = _numbered(
    "event",
    _of("reading"),
    *_required(Integer, "seq"),
    *_required(BigInteger, "at"),
    _of("reader"),
    *_required(Text, "kind", "payload", "op", "hash"),
    UniqueConstraint("reading_id", "seq"),
    UniqueConstraint("reading_id", "op"),
)

# The projection of the log, made anew at any time by `projection.rebuild`.
now = Table(
    "now",
    metadata,
    _key("reading"),
    _key("cell"),
    *_optional(Text, "call", "box"),
    *_required(Boolean, "seen", "gone", "hidden"),
    *_required(Integer, "seq"),
    _of("reader"),
)
step = Table("step", metadata, _key("reading"), Column("seq", Integer, primary_key=True), *_required(Boolean, "done"))
touched = Table("touched", metadata, _key("cell"), _key("event"))

# Immutable: a signed record as canonical JSON.
signed = _numbered(
    "signed",
    _of("patient", index=True),
    _of("reading"),
    *_required(Integer, "version"),
    _of("reader"),
    *_required(BigInteger, "at"),
    *_required(Text, "record", "digest"),
    UniqueConstraint("patient_id", "version"),
)
# What a signed record teaches: of each class [cells that were seen, corrected ones]. Apart, for records are large.
taught = Table(
    "taught",
    metadata,
    _key("signed"),
    *_required(_ID, "patient_id"),
    *_required(Integer, "version"),
    *_required(Text, "counts"),
)
sent = _numbered(
    "sent", _of("signed", index=True), _of("reader"), *_required(Text, "system"), *_required(BigInteger, "at")
)

# Who saw what: append only.
access = _numbered(
    "access", _of("patient", index=True), _of("reader"), *_required(Text, "what"), *_required(BigInteger, "at")
)

# Server-side sessions and tokens for scripts: only a digest of the secret is kept.
login = _numbered(
    "login",
    _unique("secret"),
    *_required(Text, "kind", "form_token"),
    _of("reader", null=True),
    *_required(BigInteger, "created_at", "expires_at"),
    *_required(Boolean, "revoked"),
)
attempt = _numbered("attempt", *_required(Text, "who"), *_required(BigInteger, "at"), Index("attempt_of", "who", "at"))

# The laboratory's settings as TOML: the newest row holds.
settings = _numbered("settings", _of("reader", null=True), *_required(BigInteger, "at"), *_required(Text, "toml"))

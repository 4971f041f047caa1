"""Readers, their passwords, server-side sessions that can be revoked, tokens for scripts, and slow guessing.

Passwords are kept as argon2id hashes; of a session or a token only the SHA-256 of its secret is.
"""

import hashlib
import re
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from leukoscope.errors import InputError
from leukoscope.web.store import tables as t
from leukoscope.web.store.engine import Store
from leukoscope.web.store.opening import now_ms

ROLES = ("reader", "senior", "admin")
SHORTEST_PASSWORD = 10
SESSION_MS = 12 * 3600 * 1000
TOKEN_MS = 365 * 24 * 3600 * 1000
TRIES, TRIES_MS = 8, 15 * 60 * 1000  # wrong passwords for one name or address, and for how long they count
_HASHER = PasswordHasher()
_SESSION = (  # built once: every request asks
    select(t.login, t.reader.c.name, t.reader.c.role, t.reader.c.disabled)
    .outerjoin(t.reader, t.login.c.reader_id == t.reader.c.id)
    .where(
        t.login.c.secret == bindparam("secret"),
        t.login.c.kind == bindparam("kind"),
        t.login.c.revoked.is_(False),
        t.login.c.expires_at > bindparam("now"),
    )
)
_NAME = re.compile(r"[^\x00-\x1f\x7f<>\"/\\]{1,60}")


def reader_names(connection: Connection) -> dict[int, str]:
    """Every reader's name, by the reader's number."""
    return dict(connection.execute(select(t.reader.c.id, t.reader.c.name)).all())


def add_reader(store: Store, name: str, *, role: str = "reader", password: str | None = None) -> int:
    """Add an account; without a password nobody can sign in to it (a loopback server without accounts)."""
    name = unicodedata.normalize("NFC", name.strip())
    if not _NAME.fullmatch(name):
        raise InputError(f"a reader's name has 1 to 60 letters and no control character, got {name[:80]!r}")
    if role not in ROLES:
        raise InputError(f"a role is one of {', '.join(ROLES)}, got {role!r}")
    hashed = None if password is None else _hash(password)
    with store.writing() as connection:
        if connection.execute(select(t.reader.c.id).where(t.reader.c.name == name)).scalar() is not None:
            raise InputError(f"there is a reader {name!r} already")
        row = {"name": name, "role": role, "password": hashed, "disabled": False, "created_at": now_ms()}
        return connection.execute(insert(t.reader).values(row)).inserted_primary_key[0]


def reader_named(store: Store, name: str, *, role: str = "admin") -> int:
    """The id of a reader, added without a password where it is new: for a loopback server without accounts."""
    with store.reading() as connection:
        row = connection.execute(
            select(t.reader.c.id).where(t.reader.c.name == unicodedata.normalize("NFC", name.strip()))
        ).scalar()
    return row if row is not None else add_reader(store, name, role=role)


def has_accounts(store: Store) -> bool:
    """Whether anyone can sign in."""
    with store.reading() as connection:
        query = select(func.count()).select_from(t.reader)
        return bool(connection.execute(query.where(t.reader.c.password.is_not(None))).scalar())


def check_password(store: Store, name: str, password: str, *, address: str) -> int | None:
    """The reader's id; None where name or password is wrong, or too many tries were."""
    who = ("name:" + hashlib.sha256(name.encode()).hexdigest()[:24], "address:" + address)
    with store.reading() as connection:
        since = now_ms() - TRIES_MS
        counts = select(t.attempt.c.who, func.count()).where(t.attempt.c.who.in_(who), t.attempt.c.at > since)
        tried = connection.execute(counts.group_by(t.attempt.c.who)).all()
        row = connection.execute(
            select(t.reader).where(t.reader.c.name == unicodedata.normalize("NFC", name.strip()))
        ).one_or_none()
    if any(n >= TRIES for _, n in tried):
        return None
    usable = row is not None and row.password is not None and not row.disabled
    if _matches(row.password if usable else _NOBODY, password) and usable:
        with store.writing() as connection:
            connection.execute(delete(t.attempt).where(t.attempt.c.who == who[0]))
        return row.id
    with store.writing() as connection:
        connection.execute(delete(t.attempt).where(t.attempt.c.at <= since))
        connection.execute(insert(t.attempt), [{"who": one, "at": now_ms()} for one in who])
    return None


def set_password(store: Store, reader_id: int, password: str) -> None:
    """A new password; every session of the reader ends."""
    hashed = _hash(password)
    with store.writing() as connection:
        connection.execute(update(t.reader).where(t.reader.c.id == reader_id).values(password=hashed))
        connection.execute(update(t.login).where(t.login.c.reader_id == reader_id).values(revoked=True))


def change_reader(store: Store, reader_id: int, *, role: str | None = None, disabled: bool | None = None) -> None:
    """Another role, or no more signing in; sessions end. The last admin stays one."""
    if role is not None and role not in ROLES:
        raise InputError(f"a role is one of {', '.join(ROLES)}, got {role!r}")
    values = {k: v for k, v in (("role", role), ("disabled", disabled)) if v is not None}
    with store.writing() as connection:
        connection.execute(update(t.reader).where(t.reader.c.id == reader_id).values(**values))
        connection.execute(update(t.login).where(t.login.c.reader_id == reader_id).values(revoked=True))
        admins = (
            select(func.count()).select_from(t.reader).where(t.reader.c.role == "admin", t.reader.c.disabled.is_(False))
        )
        if not connection.execute(admins).scalar():
            raise InputError("there must be one admin left who can sign in")


def begin_session(store: Store, reader_id: int | None, *, kind: str = "session") -> str:
    """The secret of a new session or token: shown once, kept as a digest."""
    secret, now = secrets.token_urlsafe(32), now_ms()
    row = {
        "secret": _digest(secret),
        "kind": kind,
        "reader_id": reader_id,
        "form_token": secrets.token_urlsafe(24),
        "created_at": now,
        "expires_at": now + (TOKEN_MS if kind == "token" else SESSION_MS),
        "revoked": False,
    }
    with store.writing() as connection:
        connection.execute(delete(t.login).where(t.login.c.expires_at < now - TOKEN_MS))
        connection.execute(insert(t.login).values(row))
    return secret


def find_session(store: Store, secret: str, *, kind: str = "session"):
    """The session's row with its reader's name, role; None where it is over, revoked or its reader is disabled."""
    wanted = {"secret": _digest(secret), "kind": kind, "now": now_ms()}
    with store.reading() as connection:
        row = connection.execute(_SESSION, wanted).one_or_none()
    return None if row is None or row.disabled else row


def set_session_reader(store: Store, login_id: int, reader_id: int) -> None:
    """Who reads in this session: only for a loopback server without accounts."""
    with store.writing() as connection:
        connection.execute(update(t.login).where(t.login.c.id == login_id).values(reader_id=reader_id))


def revoke(store: Store, login_id: int) -> None:
    """End a session or a token."""
    with store.writing() as connection:
        connection.execute(update(t.login).where(t.login.c.id == login_id).values(revoked=True))


def _hash(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise InputError(f"a password needs {SHORTEST_PASSWORD} characters or more")
    return _HASHER.hash(unicodedata.normalize("NFC", password))


def _matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, unicodedata.normalize("NFC", password))
    except (VerificationError, InvalidHashError):
        return False


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))

"""Open the database: SQLite by a file's path, PostgreSQL by a URL. Refuse what would lose data.

SQLite with WAL and a busy timeout is not enough: a transaction that reads and then writes fails at once when another
wrote in between. So the driver's own BEGIN is off, and every writing transaction begins with BEGIN IMMEDIATE.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from leukoscope.errors import UNREADABLE, InputError, LeukoscopeError, in_short
from leukoscope.web.store.schema import bring_up_to_date
from leukoscope.web.store.shares import network_file_system

BUSY_MS = 30_000
POOL = 20  # connections to PostgreSQL: one a reader at work


class StoreFailed(LeukoscopeError):
    """The database can't be used any more: its disk is full, its file damaged, its server gone."""


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """An open database. `write_lock` orders this process's writers, so that none of them polls a busy file."""

    engine: Engine
    write_lock: threading.Lock
    folder: Path  # beside the database: uploaded photographs

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads, and sees one state of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that writes: all of it is durable when the block has ended, or none of it is there."""
        if self.engine.dialect.name != "sqlite":
            with self.engine.begin() as connection:
                yield connection
            return
        with self.write_lock, self.engine.connect() as connection:
            connection = connection.execution_options(begin="IMMEDIATE")
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_store(where: str | Path, *, folder: str | Path | None = None) -> Store:
    """Open or make the database, and bring one of an older version up to date after copying it.

    where   a file's path, or a URL such as postgresql://user@host/name
    folder  for uploaded photographs; None: beside the SQLite file, for PostgreSQL "reading-room-files" here
    Raises InputError for a network share, a newer version, a database of something else, or one that can't be reached.
    """
    url = _url(str(where))
    if url.get_backend_name() == "sqlite":
        path = Path(url.database)
        _check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(folder) if folder else path.with_name(path.name + ".files")
        engine = create_engine(
            url, connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False}, pool_size=POOL
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        place = Path(folder) if folder else Path("reading-room-files")
        engine = create_engine(url, pool_size=POOL, pool_pre_ping=True)
    try:
        bring_up_to_date(engine)
    except (exc.DBAPIError, *UNREADABLE) as error:  # SQLite's own words about a damaged file may be no text
        engine.dispose()
        why = _first_line(error) if isinstance(error, exc.DBAPIError) else f"it is damaged ({in_short(error)})"
        raise InputError(f"can't open the database {url.render_as_string(hide_password=True)}: {why}") from None
    except (InputError, exc.SQLAlchemyError):
        engine.dispose()
        raise
    event.listen(engine, "handle_error", partial(_explained, url.render_as_string(hide_password=True)))
    return Store(engine, threading.Lock(), place)


@contextmanager
def existing_store(where: str) -> Iterator[Store]:
    """An open database that must be there already; closed at the end. InputError where there is none."""
    if "://" not in where and not Path(where).is_file():
        raise InputError(f"no database {where}: expected the file that `leukoscope review` wrote")
    store = open_store(where)
    try:
        yield store
    finally:
        store.close()


def _url(where: str) -> URL:
    if "://" not in where:
        return URL.create("sqlite", database=str(Path(where).absolute()))
    try:
        url = make_url(where)
        if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise InputError(f"--db needs a file or a postgresql:// address, got {url.get_backend_name()}://")
        url.get_dialect().import_dbapi()
    except ImportError:
        raise InputError("PostgreSQL needs its driver: pip install 'leukoscope[review-postgresql]'") from None
    except (exc.ArgumentError, exc.NoSuchModuleError):
        raise InputError("--db needs a file's path or an address such as postgresql://user@host/name") from None
    if url.get_backend_name() == "sqlite" and not url.database:
        raise InputError("--db sqlite:// names no file: a reading must outlive the server")
    return url


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: expected the database's file, such as {path / 'readings.db'}")
    kind = network_file_system(path)
    if kind is not None:
        raise InputError(
            f"{path} is on a network share ({kind}): SQLite can lose or damage readings there. Put the file on a local"
            " disk, or use PostgreSQL for several machines (--db postgresql://...)"
        )


def _set_up_sqlite(connection, _record) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is off: `_begin_sqlite` says which
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise InputError(
            f"this place gives SQLite journal mode {mode!r} in place of 'wal': put the database on a local disk"
        )
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL may drop acknowledged commits at a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _explained(where: str, context: ExceptionContext) -> Exception | None:
    """Of an open database: what befell it, in one line, whichever statement met it. Values of other kinds become a
    ValueError, as of any file that is read; a row that is there already stays SQLAlchemy's own error."""
    error = context.sqlalchemy_exception
    if type(error) is exc.StatementError or isinstance(
        error, (exc.InterfaceError, exc.ProgrammingError, exc.DataError)
    ):
        return ValueError(_first_line(error))  # a value that no column takes: what a damaged record brings
    of_database = isinstance(error, exc.OperationalError) or type(error) is exc.DatabaseError
    if context.is_pre_ping or not of_database:
        return None
    return StoreFailed(
        f"the database {where} can't be used: {_first_line(error)}; what was not confirmed before is not saved. "
        f"Look at its disk, its file or its server, and try again"
    )


def _first_line(error: exc.StatementError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__

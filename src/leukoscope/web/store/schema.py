"""Versions of the database: which it has, whether we may open it, and the way up, after a copy was made."""

import sqlite3
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from leukoscope.errors import InputError
from leukoscope.files import sync_folder


def bring_up_to_date(engine: Engine) -> None:
    """Make the tables in an empty database; copy and migrate one of an older version.

    InputError for a newer version or a database of something else.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection, connection.begin():
        have = _version(connection)
    newest = script.get_current_head()
    if have == newest:
        return
    known = [revision.revision for revision in script.walk_revisions()]
    if have is not None and have not in known:
        raise InputError(
            f"the database has version {have}, which is newer than this Leukoscope knows ({newest}): update Leukoscope;"
            " the database was left as it is"
        )
    if have is not None:
        _copy(engine, have)
    with engine.connect() as connection:
        connection = connection.execution_options(begin="IMMEDIATE")
        with connection.begin():
            if engine.dialect.name == "postgresql":  # two servers that start at once: one migrates, the other waits
                connection.execute(text("SELECT pg_advisory_xact_lock(7146212)"))
            if _version(connection) != newest:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("leukoscope.web.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _version(connection: Connection) -> str | None:
    names = set(inspect(connection).get_table_names())
    if "alembic_version" in names:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if names:
        raise InputError(
            f"this database is not the reading room's: it has the tables {', '.join(sorted(names)[:5])}; name a new one"
        )
    return None


def _copy(engine: Engine, version: str) -> None:
    """A copy of the whole database as it was, beside it: a file, or in PostgreSQL a schema of plain tables."""
    if engine.dialect.name == "sqlite":
        source = Path(engine.url.database)
        target = _free(source, f"before-update-from-{version}")
        partial = target.with_name(target.name + ".part")
        with sqlite3.connect(source) as old, sqlite3.connect(partial) as new:
            old.backup(new)
        old.close()
        new.close()
        partial.replace(target)
        sync_folder(target.parent)
        return
    with engine.begin() as connection:
        inspector = inspect(connection)
        schemas, number = set(inspector.get_schema_names()), 1
        while (schema := f"before_update_from_{version}_{number}") in schemas:
            number += 1
        quote = engine.dialect.identifier_preparer.quote
        connection.execute(text(f"CREATE SCHEMA {quote(schema)}"))
        for name in inspector.get_table_names():
            connection.execute(text(f"CREATE TABLE {quote(schema)}.{quote(name)} AS TABLE {quote(name)}"))


def _free(source: Path, suffix: str) -> Path:
    number = 1
    while (target := source.with_name(f"{source.name}.{suffix}-{number}")).exists():
        number += 1
    return target

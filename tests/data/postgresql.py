"""A throw-away PostgreSQL cluster for tests and benchmarks, from the programs that Debian installs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, newest version first; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: -float(p.parts[-3]))
    on_path = shutil.which("initdb")
    return found[0].parent if found else Path(on_path).parent if on_path else None


@contextmanager
def cluster(settings: str = "-c fsync=off") -> Iterator[str]:
    """The address of a running cluster's database `postgres`, over a socket in a folder of its own; gone afterwards.

    settings  of the server; a measurement of lost work gives none, so that it keeps what it acknowledged
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data, bin = folder / "data", programs()
    become = []
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        become = ["runuser", "-u", "postgres", "--"]
    folder.chmod(0o755)
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    try:
        initdb = [bin / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8"]
        subprocess.run([*become, *initdb], **run)
        options = f"-k {folder} -c listen_addresses='' -c max_connections=120 {settings}"
        pg_ctl = [*become, bin / "pg_ctl", "-D", data]
        subprocess.run([*pg_ctl, "-w", "-o", options, "-l", folder / "log", "start"], **run)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def empty(url: str) -> None:
    """Take everything out of a database."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'")
        for (name,) in schemas.fetchall():
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')
        connection.execute("CREATE SCHEMA public")

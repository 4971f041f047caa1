"""Whether an acknowledged correction can be lost: writers that are killed, and a file system that fails.

    python -m benchmarks.pages.reading_room_loss [--kills 200] [--faults 40] [--quick]

kill    a process with four threads corrects cells as fast as it can and writes each operation's name to a pipe once
        the store has answered; after 1 to 60 of them and up to 20 ms it is killed with signal 9. Then the database is
        opened anew: its integrity is checked, every chain of events, the projection against the log replayed, and that
        every operation that was written to the pipe is in the log, once.
faults  the same with a shim (C, LD_PRELOAD) under which one in 25 writes to the database is cut short or refused
        and one in 25 fsyncs fails. What is not acknowledged may be lost or kept; what is, not lost.

Both use the same database file from beginning to end. Needs a C compiler for the faults.
Writes benchmarks/results/reading_room_loss.csv.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

from sqlalchemy import select

from benchmarks.harness import QUICK, Args, Rows, again, benchmark, hidden, option
from benchmarks.pages.reading_room_data import make_patient
from leukoscope.web.store import accounts, open_store, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import verify
from leukoscope.web.store.opening import open_run
from leukoscope.web.store.projection import rebuild, states
from leukoscope.web.store.readings import Edit

THREADS = 4
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
static int ours(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return strstr(path, "readings.db") != 0;
}
static int bad(void) { return getenv("FAULTS") && rand() % 100 < atoi(getenv("FAULTS")); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
  if (ours(fd) && bad()) {
    if (rand() % 2 && n > 1) return real(fd, b, n / 2, at);
    errno = rand() % 2 ? ENOSPC : EIO;
    return -1;
  }
  return real(fd, b, n, at);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { return pwrite64(fd, b, n, at); }
int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fsync");
  if (ours(fd) && bad()) { errno = EIO; return -1; }
  return real(fd);
}
int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  if (ours(fd) && bad()) { errno = EIO; return -1; }
  return real(fd);
}
"""


def main(args: Args) -> Rows:
    kills, faults = (5, 3) if args.quick else (args.kills, args.faults)
    if args.shimmed:
        print(json.dumps(storm("a file system that fails", Path(args.shimmed), faults, faulty=True)))
        return
    with tempfile.TemporaryDirectory() as work:
        db = Path(work) / "readings.db"
        prepare(db, Path(work) / "run")
        rows = storm("killed with signal 9", db, kills)
        if faults:
            environment = dict(os.environ) | {"LD_PRELOAD": str(build_shim(Path(work)))}
            command = again("--shimmed", db, "--faults", faults)
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            rows += json.loads(done.stdout.splitlines()[-1])
    yield from rows


def prepare(db: Path, run: Path) -> None:
    """A database with THREADS patients and a reading of each; closed again."""
    store = open_store(db)
    open_run(store, make_patient(run, n_cells=100, n_patients=THREADS))
    reader = accounts.reader_named(store, "storm")
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.id)).scalars().all()
    for patient in patients:
        readings.begin_reading(store, patient, reader)
    store.close()


def build_shim(folder: Path) -> Path:
    """The failing file system as a library to preload."""
    source, library = folder / "faults.c", folder / "faults.so"
    source.write_text(SHIM)
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def storm(name: str, db: Path, runs: int, *, faulty: bool = False) -> list[dict]:
    """`runs` processes, one after the other; acknowledged operations that are missing, and damaged databases."""
    rng = random.Random(7)
    n_acknowledged, n_failed, lost, damaged = 0, 0, 0, 0
    for number in range(runs):
        acknowledged, failed = one_run(db, rng, faulty=faulty)
        wrong = check(db, acknowledged, thorough=number % 20 == 19 or number == runs - 1)
        lost, damaged = lost + wrong[0], damaged + wrong[1]
        n_acknowledged, n_failed = n_acknowledged + len(acknowledged), n_failed + failed
        if number % 20 == 19:
            print(
                f"{name}: {number + 1} runs, {n_acknowledged} acknowledged, {lost} lost, {damaged} damaged", flush=True
            )
    seen = {"runs": runs, "acknowledged": n_acknowledged, "refused": n_failed}
    return [
        {"set": name, "measure": "acknowledged corrections lost or twice", "value": lost, "threshold": "<= 0", **seen},
        {"set": name, "measure": "databases or chains damaged", "value": damaged, "threshold": "<= 0", **seen},
    ]


def one_run(db: Path, rng: random.Random, *, faulty: bool) -> tuple[list[str], int]:
    """Operations that one process acknowledged before it was killed, and how many it was refused."""
    reading, writing = os.pipe()
    child = os.fork()  # this process holds no open database and no thread: the copy starts clean
    if child == 0:
        os.close(reading)
        try:
            write(db, writing, faulty=faulty)
        finally:
            os._exit(1)
    os.close(writing)
    data, wanted = b"", rng.randrange(1, 60)
    while data.count(b"\n") < wanted:
        part = os.read(reading, 1 << 16)
        if not part:
            raise SystemExit("the writer ended by itself")
        data += part
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    while part := os.read(reading, 1 << 16):
        data += part
    os.waitpid(child, 0)
    os.close(reading)
    lines = data.decode().split("\n")[:-1]  # a line that the kill cut short was never read by anybody
    return [line for line in lines if line != "failed"], lines.count("failed")


def write(db: Path, pipe: int, *, faulty: bool) -> None:
    """Correct cells from THREADS threads, a line into the pipe for each answer of the store; never returns."""
    store = open_store(db)
    with store.reading() as connection:
        mine = connection.execute(select(t.reading.c.id, t.reading.c.patient_id, t.reading.c.reader_id)).all()
        of_patient = {
            r.patient_id: connection.execute(select(t.cell.c.id).where(t.cell.c.patient_id == r.patient_id))
            .scalars()
            .all()
            for r in mine
        }
    if faulty:  # opening works; the faults begin with the corrections
        ctypes.CDLL(None).setenv(b"FAULTS", b"4", 1)

    def work(reading) -> None:
        cells = of_patient[reading.patient_id]
        for number in itertools.count():
            op, call = uuid.uuid4().hex, ("monocyte", "lymphocyte", "eosinophil")[number % 3]
            change = Edit("call", (cells[number % len(cells)],), op, call=call)
            try:
                readings.edit(store, reading.id, change, reader_id=reading.reader_id)
                os.write(pipe, f"{op}\n".encode())
            except Exception:
                os.write(pipe, b"failed\n")

    threads = [threading.Thread(target=work, args=(reading,), daemon=True) for reading in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check(db: Path, acknowledged: list[str], *, thorough: bool) -> tuple[int, int]:
    """(operations that are not in the log exactly once, 1 where the database, a chain or the projection is damaged)."""
    plain = sqlite3.connect(db)
    sound = plain.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    found = dict(plain.execute("SELECT op, count(*) FROM event GROUP BY op").fetchall())
    plain.close()
    lost = sum(found.get(op, 0) != 1 for op in acknowledged)
    if thorough and sound:
        store = open_store(db)
        with store.writing() as connection:
            for reading in connection.execute(select(t.reading.c.id)).scalars().all():
                sound = sound and verify(connection, reading) is None
                before = states(connection, reading)
                rebuild(connection, reading)
                sound = sound and states(connection, reading) == before
        store.close()
    return lost, int(not sound)


if __name__ == "__main__":
    benchmark(
        main, option("--kills", type=int, default=200),
        option("--faults", type=int, default=40, help="runs with a failing file system"), QUICK,
        hidden("--shimmed", metavar="DB"),
    )  # fmt: skip

"""Whether an acknowledged correction can be lost: writers that are killed, and a file system that fails.

    python benchmarks/reading_room_loss.py [--kills 200] [--faults 40] [--quick]

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

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import write_results
from reading_room_data import make_patient
from sqlalchemy import select

from leukoscope.web.store import accounts, open_store, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import verify
from leukoscope.web.store.opening import open_run
from leukoscope.web.store.projection import rebuild, states

THREADS = 4
WRITER = """
import os, sys, threading, uuid
from sqlalchemy import select
from leukoscope.web.store import open_store, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.readings import Edit
store = open_store(sys.argv[1])
with store.reading() as connection:
    open_ = connection.execute(select(t.reading.c.id, t.reading.c.patient_id, t.reading.c.reader_id)).all()
    cells = {r.id: connection.execute(select(t.cell.c.id).where(t.cell.c.patient_id == r.patient_id)).scalars().all()
             for r in open_}
os.write(1, b"ready\\n")
sys.stdin.readline()
def work(r):
    n = 0
    while True:
        op = uuid.uuid4().hex
        call = ("monocyte", "lymphocyte", "eosinophil")[n % 3]
        try:
            change = Edit("call", (cells[r.id][n % len(cells[r.id])],), op, call=call)
            readings.edit(store, r.id, change, reader_id=r.reader_id)
        except Exception as error:
            os.write(1, b"failed\\n")
            continue
        finally:
            n += 1
        os.write(1, (op + "\\n").encode())
threads = [threading.Thread(target=work, args=(r,), daemon=True) for r in open_]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", type=int, default=40, help="runs with a failing file system")
    parser.add_argument("--quick", action="store_true", help="5 kills, 3 failing runs")
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    args = parser.parse_args()
    kills, faults = (5, 3) if args.quick else (args.kills, args.faults)
    with tempfile.TemporaryDirectory() as work:
        db = Path(work) / "readings.db"
        store = open_store(db)
        open_run(store, make_patient(Path(work) / "run", n_cells=100, n_patients=THREADS))
        reader = accounts.reader_named(store, "storm")
        with store.reading() as connection:
            patients = connection.execute(select(t.patient.c.id)).scalars().all()
        for patient in patients:
            readings.begin_reading(store, patient, reader)
        store.close()
        rows = storm("killed with signal 9", db, kills)
        if faults:
            rows += storm("a file system that fails", db, faults, shim=build_shim(Path(work)))
    for row in rows:
        print(row)
    if not args.dry_run:
        write_results("reading_room_loss", rows)


def build_shim(folder: Path) -> Path:
    """The failing file system as a library to preload."""
    source, library = folder / "faults.c", folder / "faults.so"
    source.write_text(SHIM)
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def storm(name: str, db: Path, runs: int, *, shim: Path | None = None) -> list[dict]:
    """`runs` processes, one after the other; acknowledged operations that are missing, and damaged databases."""
    rng = random.Random(7)
    n_acknowledged, n_failed, lost, damaged = 0, 0, 0, 0
    for number in range(runs):
        acknowledged, failed = one_run(db, rng, shim)
        wrong = check(db, acknowledged, thorough=number % 20 == 19 or number == runs - 1)
        lost, damaged = lost + wrong[0], damaged + wrong[1]
        n_acknowledged, n_failed = n_acknowledged + len(acknowledged), n_failed + failed
    seen = {"runs": runs, "acknowledged": n_acknowledged, "refused": n_failed}
    return [
        {"set": name, "measure": "acknowledged corrections lost or twice", "value": lost, "threshold": "<= 0", **seen},
        {"set": name, "measure": "databases or chains damaged", "value": damaged, "threshold": "<= 0", **seen},
    ]


def one_run(db: Path, rng: random.Random, shim: Path | None) -> tuple[list[str], int]:
    """Operations that one process acknowledged before its end, and how many it was refused."""
    environment = dict(os.environ)
    if shim is not None:
        environment |= {"LD_PRELOAD": str(shim)}
    code = WRITER
    if shim is not None:  # opening works; the faults begin with the corrections
        begin = 'import ctypes\nctypes.CDLL(None).setenv(b"FAULTS", b"4", 1)\n'
        code = code.replace("sys.stdin.readline()\n", "sys.stdin.readline()\n" + begin)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout.readline() == b"ready\n"
    process.stdin.write(b"go\n")
    process.stdin.flush()
    data, wanted = b"", rng.randrange(1, 60)
    while data.count(b"\n") < wanted:
        data += os.read(process.stdout.fileno(), 1 << 16)
    time.sleep(rng.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    data += process.stdout.read()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    lines = data.decode().split("\n")[:-1]  # a line that the kill cut short was never read by anybody
    return [line for line in lines if line != "failed"], lines.count("failed")


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
    main()

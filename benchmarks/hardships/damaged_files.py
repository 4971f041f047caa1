"""Every other file that Leukoscope reads, damaged: does a command crash, hang, or give a result that is not true?

    python -m benchmarks.hardships.damaged_files [--n 3000] [--seed 1] [--only KIND]

Pictures, annotations and slides have storms of their own (damaged_images, mutated_annotations, damaged_slides). Here
are the rest: tables of patients, records and signed records (exported, opened in the reading room, held against one
another), manifests, bundles (cards and ONNX files), configurations of training and studies, what a stopped run left,
labelled cells of one's own, drift profiles, split files, zip archives, gzipped GeoJSON, keys, databases, tables of
codes, checkpoints. A file is damaged in the ways of mutated_annotations, or replaced by one of another kind, an archive
within an archive, bytes of zero, or a number that is far too large.

A damaged file must be refused in one line of an error that Leukoscope raises on purpose, or taken. What a stopped run
left must give the record of the undisturbed run, or be refused. Each call is made in a child that others share until it
dies, with 20 seconds and 6 GB. Writes benchmarks/results/damaged_files.csv; exit code 1 where anything was counted that
should be 0.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.hardships.damaged_originals import ORIGINALS, Call, Untrue
from benchmarks.harness import benchmark, option
from benchmarks.sets.mutations import MUTATIONS
from leukoscope.errors import LeukoscopeError

SECONDS, BYTES = 20.0, 6 << 30
BAD = ("crash", "hang", "memory", "untrue")
LONGEST_LINE = 4000
BATCH = 40  # calls a child: what one leaves behind in the memory does not reach far


class _Hang(BaseException):
    """The time is up."""


def swapped(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """The file of another kind under this one's name."""
    return others[rng.integers(len(others))]


def nested(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """An archive in an archive in an archive, or one that says it is far larger than it is."""
    for _ in range(int(rng.integers(1, 30))):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(["a.zip", "../a.png", "/etc/a.json", "a.png", "con"]), data)
        data = out.getvalue()
    return data if rng.random() < 0.5 else data.replace(len(data).to_bytes(4, "little"), b"\xff\xff\xff\x7f")


def zeros(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """What a power failure leaves: the right length, or a part of it, of zeros."""
    kept = int(rng.integers(0, len(data) + 1))
    return data[:kept] + bytes(len(data) - kept)


def huge(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """Numbers of four bytes, anywhere, that promise gigabytes."""
    changed = bytearray(data)
    for at in rng.integers(0, max(1, len(data) - 4), 4):
        changed[at : at + 4] = int(rng.choice([2**31 - 1, 2**32 - 1, 10**9])).to_bytes(4, "little")
    return bytes(changed)


OWN = (swapped, nested, zeros, huge)


def damage(rng: np.random.Generator, data: bytes, others: list[bytes]) -> tuple[str, bytes]:
    """(how, the damaged bytes)."""
    how = (*MUTATIONS, *OWN)[rng.integers(len(MUTATIONS) + len(OWN))] if data else swapped
    if how in OWN:
        return how.__name__, how(rng, data, others)
    try:
        return how.__name__, how(rng, data)
    except (UnicodeDecodeError, ValueError, IndexError):  # a way for texts, and this is none
        return "flip_bits", MUTATIONS[1](rng, data)


def measure(args) -> Iterator[dict]:
    """A row a kind."""
    kinds = [k for k in ORIGINALS if not args.only or k in args.only]
    outcomes = {kind: Counter() for kind in kinds}
    slowest = dict.fromkeys(kinds, 0.0)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        calls = {kind: ORIGINALS[kind](folder / "originals" / kind.replace(" ", "-")) for kind in kinds}
        others = [f.read_bytes() for call in calls.values() for f in call.files if f.is_file()]
        numbers = list(range(args.n))
        while numbers:
            said = _in_child(folder, calls, kinds, others, numbers[:BATCH], args.seed)
            for place, (number, _, outcome, *_rest) in enumerate(said):
                if outcome == "memory":  # perhaps what other calls left: a command is a process of its own
                    said[place] = _in_child(folder, calls, kinds, others, [number], args.seed)[0]
            for number, kind, outcome, detail, seconds in said:
                outcomes[kind][outcome] += 1
                slowest[kind] = max(slowest[kind], seconds)
                if outcome in BAD:
                    print(f"number {number} ({kind}): {outcome}: {detail}", flush=True)
            numbers = numbers[len(said) :]
    words = ("refused", "taken")
    for kind in kinds:
        tally = outcomes[kind]
        yield {
            "set": kind,
            "measure": "damaged files that crashed, hung, filled the memory or gave what is not true",
            "value": sum(tally[w] for w in BAD),
            "threshold": "<= 0",
            "n": tally.total(),
            **{w: tally[w] for w in (*BAD, *words)},
            "slowest_s": round(slowest[kind], 2),
        }
    yield {"set": "all", "measure": "damaged files", "value": sum(t.total() for t in outcomes.values())}
    return {"seed": args.seed}


def _in_child(
    folder: Path, calls: dict[str, Call], kinds: list[str], others: list[bytes], numbers: list[int], seed: int
) -> list[tuple]:
    """What a child says of some calls; where it dies the last row is of the call that it died in."""
    said = folder / "said.jsonl"
    said.write_bytes(b"")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            with open(said, "w", encoding="utf-8") as out:
                for number in numbers:
                    row = _one(folder / "one", calls, kinds[number % len(kinds)], others, number, seed)
                    out.write(json.dumps(row) + "\n")
                    out.flush()
            os._exit(0)
        finally:  # whatever was raised: the child never goes on as its parent
            traceback.print_exc()
            os._exit(1)
    size, since = -1, time.monotonic()
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.05)
        if said.stat().st_size != size:
            size, since = said.stat().st_size, time.monotonic()
        elif time.monotonic() - since > 4 * SECONDS:  # a library that no signal reaches
            os.kill(child, signal.SIGKILL)
    rows = [json.loads(line) for line in said.read_text("utf-8").splitlines()]
    if len(rows) < len(numbers):
        number, ended = numbers[len(rows)], os.waitstatus_to_exitcode(done[1])
        how = "hang" if ended == -signal.SIGKILL else "crash"
        rows.append([number, kinds[number % len(kinds)], how, f"the process ended with {ended}", 0.0])
    return rows


def _one(place: Path, calls: dict[str, Call], kind: str, others: list[bytes], number: int, seed: int) -> list:
    rng = np.random.default_rng([seed, number])
    call = calls[kind]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(call.folder, place, symlinks=True)
    file = call.files[rng.integers(len(call.files))]
    how, data = damage(rng, file.read_bytes(), others)
    (place / file.relative_to(call.folder)).write_bytes(data)
    start = time.perf_counter()
    outcome, detail = judge(call.run, place)
    return [number, kind, outcome, f"{file.name}, {how}: {detail}", time.perf_counter() - start]


def judge(run: Callable[[Path], object], place: Path) -> tuple[str, str]:
    """(outcome, detail) of one call."""
    said = io.StringIO()

    def on_alarm(*_: object) -> None:
        raise _Hang

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = run(place)
    except LeukoscopeError as error:
        said.write(str(error))
        code = 2
    except Untrue as error:
        return "untrue", str(error)
    except _Hang:
        return "hang", f"over {SECONDS:g} s"
    except MemoryError:
        return "memory", traceback.format_exc(limit=-2)
    except BaseException:  # the one place that must see everything: it counts what got out
        return "crash", traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    lines = said.getvalue().strip().splitlines()
    if code != 2:
        return "taken", ""
    if "the memory is full" in said.getvalue():
        return "memory", lines[-1]
    if len(lines) != 1 or len(lines[0]) > LONGEST_LINE:
        return "crash", f"{len(lines)} lines of {max(map(len, lines), default=0)} characters: {lines[:2]}"
    return "refused", lines[0]


if __name__ == "__main__":
    sys.setrecursionlimit(1000)
    benchmark(
        measure,
        option("--n", type=int, default=3000, help="damaged files"),
        option("--seed", type=int, default=1),
        option("--only", action="append", default=[], metavar="KIND", help=", ".join(ORIGINALS)),
    )

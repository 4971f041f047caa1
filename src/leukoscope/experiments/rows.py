"""One row of a study: run once, kept, never run again; a row that fails or can't run leaves the others alone.

A row has a folder, OUT/rows/NAME, with `row.json` (how it ended), what its work writes there, and `error.txt` where it
failed. Tables and figures are made from these folders, so a study can be stopped, resumed and widened row by row.
"""

import hashlib
import importlib.util
import json
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from leukoscope.errors import ConfigError, LeukoscopeError
from leukoscope.experiments.provenance import machine
from leukoscope.files import write_json, write_text
from leukoscope.train.run import source_commit

DONE, FAILED, NOT_INSTALLED, NOT_RUN = "done", "failed", "not installed", "not run"
# What a row's work may raise without taking the study with it: everything but a wrong system (SystemError, recursion)
# and Ctrl-C. One row's mistake must not cost a night of other rows; the traceback is kept beside it.
ROW_ERRORS = (
    LeukoscopeError, ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip

Work = Callable[[Path, bool], dict]


@dataclass(frozen=True, slots=True)
class Row:
    """How a row ended.

    status       "done", "failed", "not installed" or "not run"
    reason       one line, where it is not done
    result       what its work returned: plain types
    seconds      of its work, this run and the ones it resumed
    fingerprint  digest of its settings and data: a row of another fingerprint is not this row
    """

    name: str
    status: str
    folder: Path
    fingerprint: str = ""
    reason: str = ""
    result: dict | None = None
    seconds: float = 0.0
    commit: str = ""
    machine: str = ""

    @property
    def is_done(self) -> bool:
        return self.status == DONE


def fingerprint_of(*parts: object) -> str:
    """Digest of plain types (settings, data digests): what a row depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def row_folder(out: str | Path, name: str) -> Path:
    """OUT/rows/NAME."""
    return Path(out) / "rows" / name


def read_row(out: str | Path, name: str) -> Row:
    """The row as it stands; "not run" where nothing was written."""
    folder = row_folder(out, name)
    try:
        values = json.loads((folder / "row.json").read_text("utf-8"))
    except FileNotFoundError:
        return Row(name, NOT_RUN, folder, reason="not asked for yet")
    except ValueError as error:
        raise ConfigError(f"{folder / 'row.json'} is damaged ({error}): delete {folder} to run the row again") from None
    return Row(**{**values, "folder": folder})


def run_row(
    out: str | Path,
    name: str,
    fingerprint: str,
    work: Work,
    *,
    needs: Sequence[str] = (),
    extra: str = "study",
    resume: bool = False,
) -> Row:
    """Run `work(folder, resume)` unless the row is done already; returns how it ended, and never raises for ROW_ERRORS.

    fingerprint  of settings and data (`fingerprint_of`); ConfigError where a finished row has another one: a table of
                 unlike rows would look like one study
    needs        modules that must be installed, of the extra `extra`: else the row ends "not installed"
    resume       True: an unfinished row goes on in its folder; False: its folder is emptied first
    """
    earlier = read_row(out, name)
    folder = row_folder(out, name)
    if earlier.is_done:
        if earlier.fingerprint != fingerprint:
            raise ConfigError(
                f"row {name!r} in {out} was made with other settings or other data: choose another --out, or delete "
                f"{folder} to run it again"
            )
        return earlier
    missing = [m for m in needs if importlib.util.find_spec(m) is None]
    if missing:
        reason = f"needs {', '.join(missing)}: pip install 'leukoscope[{extra}]'"
        return keep_row(Row(name, NOT_INSTALLED, folder, fingerprint, reason))
    same = resume and earlier.fingerprint in ("", fingerprint)
    if folder.is_dir() and not same:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = earlier.seconds if same else 0.0
    started = time.perf_counter()
    where = {"commit": source_commit(), "fingerprint": fingerprint}
    try:
        result = work(folder, same)
    except ROW_ERRORS as error:
        write_text(folder / "error.txt", traceback.format_exc())
        seconds = before + time.perf_counter() - started
        status = NOT_INSTALLED if isinstance(error, ModuleNotFoundError) else FAILED
        reason = " ".join(str(error).split()) or type(error).__name__
        return keep_row(Row(name, status, folder, reason=reason, seconds=seconds, machine=machine(), **where))
    (folder / "error.txt").unlink(missing_ok=True)
    seconds = before + time.perf_counter() - started
    return keep_row(Row(name, DONE, folder, result=result, seconds=seconds, machine=machine(), **where))


def keep_row(row: Row) -> Row:
    """Write how a row ended into its folder; returns it."""
    row.folder.mkdir(parents=True, exist_ok=True)
    values = asdict(row) | {"folder": row.folder.name}
    write_json(row.folder / "row.json", values, allow_nan=False)
    return row

"""What a study fixes before its test data are looked at: written once, never overwritten, checked when it is done.

A study registers the digests of its data, settings, models, predictions and code, and its thresholds. Afterwards the
same is computed again. What differs is said on the page: a threshold that moved, an analysis that was changed.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np

from leukoscope.errors import ConfigError
from leukoscope.files import write_json

VERSION = 1
NAME = "preregistration.json"
# Sources whose change could change a study's numbers after its data were registered.
ANALYSIS = ("evaluate", "experiments", "quantify", "intervals.py", "taxonomy")


def register(folder: Path, facts: Mapping[str, object]) -> dict:
    """Write `folder`/preregistration.json, or give what stands there from an earlier run; ConfigError if it is damaged.

    facts  plain types, by part: data, settings, thresholds, models, predictions, analysis
    """
    path = folder / NAME
    if path.is_file():
        return _read(path)
    record = {
        "preregistration_version": VERSION,
        "registered": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "code_sha256": code_digest(),
        **facts,
    }
    record["sha256"] = _digest(record)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def differences(registered: Mapping[str, object], facts: Mapping[str, object]) -> list[str]:
    """What is no longer as registered, a line each; empty where all of it held."""
    now = _flat({"code_sha256": code_digest(), **facts})
    was = _flat({k: v for k, v in registered.items() if k not in ("preregistration_version", "registered", "sha256")})
    return [
        f"{name}: registered {_short(was.get(name))}, now {_short(now.get(name))}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]


def _flat(facts: Mapping[str, object], head: str = "") -> dict[str, object]:
    """{"thresholds raw count": 0.2, …}: every leaf by its path."""
    flat: dict[str, object] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{head}{name} ") if isinstance(value, Mapping) else {f"{head}{name}": value}
    return flat


def words(registered: Mapping[str, object], apart: list[str]) -> str:
    """One sentence for the page and the checklists."""
    head = f"Registered {registered['registered']}, before any number of the test data was made ({NAME}, "
    head += f"SHA-256 {str(registered['sha256'])[:12]})"
    if not apart:
        return head + ": data, settings, thresholds, models, predictions and code are as registered."
    return head + f". Not as registered: {'; '.join(apart)}."


def code_digest() -> str:
    """SHA-256 over the sources that make a study's numbers."""
    root = files("leukoscope")
    digest = hashlib.sha256()
    for part in ANALYSIS:
        place = Path(str(root)) / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(Path(str(root))).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def array_digest(values: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and bytes."""
    values = np.ascontiguousarray(values)
    return hashlib.sha256(f"{values.shape} {values.dtype}".encode() + values.tobytes()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict:
    try:
        record = json.loads(path.read_text("utf-8"))
        stated = record.pop("sha256")
        version = record["preregistration_version"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path} is damaged: it is no pre-registration; choose another --out") from None
    if version != VERSION:
        raise ConfigError(f"{path} has preregistration_version {version!r}; this Leukoscope reads {VERSION}")
    if _digest(record) != stated:
        raise ConfigError(f"{path} was changed after it was written: its own digest does not fit; choose another --out")
    return record | {"sha256": stated}


def _digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False) if value is not None else "nothing"
    return text if len(text) <= 90 else f"{text[:60]}… ({hashlib.sha256(text.encode()).hexdigest()[:8]})"

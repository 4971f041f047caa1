"""What a run looks like in numbers: of each patient the stain, focus, light, cell size, confidence and class mix."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from leukoscope.entries import FieldEntry
from leukoscope.errors import UNREADABLE, DataError, InputError, in_short, said_damaged
from leukoscope.files import write_json
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.report import Record, counted_cells, read_record
from leukoscope.scale import RED_CELL_UM

PROFILE_VERSION = 1
REFERENCE = "drift.json"  # in a classifier's bundle: the profile of what it was validated on
QUANTILES = tuple(range(0, 101, 5)) + (1, 99)  # per cent, of a run's photographs; kept in order
DIGITS = 5


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is watched. by_model: it depends on the model, and is compared only where that is the same."""

    name: str
    words: str
    by_model: bool = False


MEASURES = (
    Measure("stain", "stain: how much darker than the background nuclei are"),
    Measure("focus", "focus: sharpness of edges"),
    Measure("light", "light: brightness of the background"),
    Measure("cell_px", "cell size in pixels"),
    Measure("cell_size", "cell size in red cells"),
    Measure("confidence", "confidence: mean probability of the class that is called", by_model=True),
    Measure("withheld", "share of cells that count as no class", by_model=True),
    Measure("poor", "share of photographs that failed or are poor"),
)


@dataclass(frozen=True, slots=True)
class PatientLook:
    """A patient without a name: where, how much, the measures (None: not known), and the share of each class."""

    center: str
    n_fields: int
    n_failed: int
    n_cells: int
    n_withheld: int
    values: dict[str, float | None]
    mix: dict[str, float]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a run looks like.

    name      of the run's folder, or of the bundle
    model     SHA-256 of the classifier's ONNX file
    patients  one a patient; () of a bundle's reference, which knows photographs only
    fields    measure -> its QUANTILES over the photographs
    """

    name: str
    model: str
    patients: tuple[PatientLook, ...]
    fields: dict[str, list[float]]
    n_fields: int
    n_cells: int

    def values(self, measure: str) -> np.ndarray:
        """(P,) of the patients of whom it is known."""
        return np.array([p.values[measure] for p in self.patients if p.values.get(measure) is not None], np.float64)


@dataclass(slots=True)
class _Gathered:
    """What is collected of one patient."""

    center: str
    n: Counter = field(default_factory=Counter)  # fields, failed and poor ones; cells, withheld ones
    probs: float = 0.0
    of_fields: dict[str, list[float]] = field(default_factory=dict)
    classes: Counter = field(default_factory=Counter)


def measure_run(path: str | Path) -> Profile:
    """The profile of a run: its folder, or its record. DataError where it is none."""
    path = Path(path)
    file = path / "record.json" if path.is_dir() else path
    record = read_record(file)
    with said_damaged(file, "is no whole record"):
        return _measured(record, (path if path.is_dir() else path.parent).resolve().name)


def _measured(record: Record, name: str) -> Profile:
    gathered: dict[str, _Gathered] = {}
    of_run: dict[str, list[float]] = {}
    for entry in record.fields():
        patient = gathered.setdefault(entry["patient_id"], _Gathered(entry["center"]))
        for measure, value in _add(patient, entry).items():
            of_run.setdefault(measure, []).append(value)
    quantiles = {
        name: [round(float(v), DIGITS) for v in np.percentile(values, sorted(QUANTILES))]
        for name, values in of_run.items()
    }
    patients = tuple(_look(gathered[patient_id]) for patient_id in sorted(gathered))
    model = record.provenance["models"].get("classifier", {}).get("onnx_sha256", "")
    n_fields, n_cells = sum(p.n_fields for p in patients), sum(p.n_cells for p in patients)
    return Profile(name, model, patients, quantiles, n_fields, n_cells)


def measure_runs(paths: Sequence[str | Path]) -> list[Profile]:
    """The profiles of several runs; where two folders have one name, they are called by their parents too."""
    profiles = [measure_run(path) for path in paths]
    names = Counter(p.name for p in profiles)
    folders = [(Path(p) if Path(p).is_dir() else Path(p).parent).resolve() for p in paths]
    return [
        replace(profile, name="/".join(folder.parts[-2:])) if names[profile.name] > 1 else profile
        for profile, folder in zip(profiles, folders, strict=True)
    ]


def _add(patient: _Gathered, entry: FieldEntry) -> dict[str, float]:
    """Add a photograph to its patient; its own measures."""
    patient.n["fields"] += 1
    if entry["status"] == "failed":
        patient.n["failed"] += 1
        return {}
    patient.n["poor"] += entry["status"] == "poor"
    cells = counted_cells(entry)
    quality = entry["quality"] or {}
    measured = {"stain": quality.get("stain"), "focus": quality.get("focus"), "light": quality.get("exposure")}
    if cells:
        boxes = np.array([c["box"] for c in cells], np.float64)
        side = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)))
        tops = [max(c["probs"].values()) for c in cells]
        measured |= {"cell_px": side, "cell_size": _in_red_cells(side, entry), "confidence": float(np.mean(tops))}
        patient.n["cells"] += len(cells)
        patient.n["withheld"] += sum(not c.get("identified", True) for c in cells)
        patient.probs += sum(tops)
        patient.classes.update(c["class"] for c in cells)
    known = {name: float(value) for name, value in measured.items() if value is not None}
    for name, value in known.items():
        patient.of_fields.setdefault(name, []).append(value)
    return known


def _in_red_cells(side_px: float, entry: FieldEntry) -> float | None:
    """A length in diameters of red cells, by those of the smear or by the scale."""
    if red_px := entry.get("red_cell_px"):
        return side_px / red_px
    return side_px * entry["um_per_px"] / RED_CELL_UM if entry["um_per_px"] else None


def _look(patient: _Gathered) -> PatientLook:
    values: dict[str, float | None] = {m.name: None for m in MEASURES}
    values |= {name: round(float(np.median(v)), DIGITS) for name, v in patient.of_fields.items()}
    fields, failed, n, withheld = (patient.n[k] for k in ("fields", "failed", "cells", "withheld"))
    values["confidence"] = round(patient.probs / n, DIGITS) if n else None
    values["withheld"] = round(withheld / n, DIGITS) if n else None
    values["poor"] = round((failed + patient.n["poor"]) / fields, DIGITS)
    mix = {name: round(count / n, DIGITS) for name, count in sorted(patient.classes.items())}
    return PatientLook(patient.center, fields, failed, n, withheld, values, mix)


def write_profile(profile: Profile, path: str | Path, *, patients: bool = True) -> None:
    """Write a profile as JSON, whole or not at all. It holds no patient's id. patients: False for a bundle's."""
    kept = [asdict(p) for p in profile.patients] if patients else []
    write_json(path, {"profile_version": PROFILE_VERSION} | asdict(profile) | {"patients": kept})


def read_profile(path: str | Path) -> Profile:
    """What `write_profile` wrote. DataError where the file is none."""
    try:
        values = json.loads(Path(path).read_text("utf-8"))
        if values.pop("profile_version") != PROFILE_VERSION:
            raise DataError(f"{path} is a profile of another version; this Leukoscope reads {PROFILE_VERSION}")
        profile = Profile(**values | {"patients": tuple(PatientLook(**p) for p in values["patients"])})
        _check(profile)
        return profile
    except OSError as error:
        raise DataError(f"can't read the profile {path}: {error.strerror}") from None
    except UNREADABLE as error:
        raise DataError(
            f"{path} is no profile of a run: {in_short(error)}; write one with `leukoscope drift RUN --keep FILE`"
        ) from None


def _check(profile: Profile) -> None:
    """ValueError, TypeError or AttributeError where a value is not of its kind."""
    numbers = [v for p in profile.patients for v in (*p.values.values(), *p.mix.values()) if v is not None]
    numbers += [v for p in profile.patients for v in (p.n_fields, p.n_failed, p.n_cells, p.n_withheld)]
    numbers += [v for quantiles in profile.fields.values() for v in quantiles] + [profile.n_fields, profile.n_cells]
    texts = [profile.name, profile.model, *(p.center for p in profile.patients)]
    if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers):
        raise ValueError("a number was expected and something else is there")
    if not all(isinstance(t, str) for t in texts) or any(None in p.mix.values() for p in profile.patients):
        raise ValueError("a text or a share was expected and something else is there")
    if any(len(quantiles) != len(QUANTILES) for quantiles in profile.fields.values()):
        raise ValueError(f"{len(QUANTILES)} quantiles a measure were expected")


def find_reference(name: str) -> Profile:
    """What --reference names: a run's folder or record, a kept profile, or a model with a reference.

    InputError where it is none of them.
    """
    path = Path(name)
    if path.is_dir() and (path / "record.json").is_file() or path.name == "record.json":
        return measure_run(path)
    if path.is_file():
        return read_profile(path)
    bundle = part_of_model(find_model(name), "classify")
    if not (bundle.path / REFERENCE).is_file():
        raise InputError(
            f"model {name!r} has no reference to compare with ({REFERENCE} in its classifier's folder): name a run of "
            "yours that you trust, or write one with `leukoscope drift RUN --keep FILE`"
        )
    return read_profile(bundle.path / REFERENCE)


def shares(patients: Sequence[PatientLook]) -> dict[str, float]:
    """The mean share of each class over patients with cells: each patient counts once."""
    with_cells = [p for p in patients if p.n_cells]
    names = sorted({name for p in with_cells for name in p.mix})
    return {name: float(np.mean([p.mix.get(name, 0.0) for p in with_cells])) for name in names}

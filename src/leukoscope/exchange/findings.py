"""One patient's numbers, from a run's record or from a signed one: what every export is made from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.count import LEUKOCYTES, NUCLEATED, artefacts_per_100, nucleated_red_per_100, roles_of
from leukoscope.errors import DataError
from leukoscope.files import file_digest
from leukoscope.report import Record
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential

SIGNED_VERSION = 1  # of signed records that are read here (web/signing.py writes them)
_SIGNED_KEYS = frozenset("signed_version patient_id specimen smear_ids record_sha256 provenance numbers".split())


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed, and when (milliseconds since 1970 UTC; None: not told).

    version  1, or more after a signed reading was re-opened
    """

    version: int
    by: str
    at_ms: int | None
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The numbers of one patient.

    denominator   "leukocytes" or "nucleated_cells": what the shares are of; n_counted: how many
    rows          a class each: class, count, share (None: not in the denominator), role
    ratios, flags as docs/record.md has them
    nucleated_red_per_100, artefacts_per_100   None where they are not told
    version, models  of the program that counted, and "part name" of each model
    run           digest of the run's record; the same for the run and for what was signed of it
    signature     None: nobody has signed
    """

    patient_id: str
    specimen: str
    centers: tuple[str, ...]
    smear_ids: tuple[str, ...]
    denominator: str
    n_counted: int
    n_cells: int
    n_unidentified: int
    rows: tuple[dict, ...]
    ratios: tuple[dict, ...]
    flags: tuple[dict, ...]
    nucleated_red_per_100: float | None
    artefacts_per_100: float | None
    taxonomy: Taxonomy
    version: str
    models: tuple[str, ...]
    run: str
    signature: Signature | None = None


def findings_of(record: Record, *, run: str | None = None) -> Iterator[Findings]:
    """The patients of a run's record, in its order: nobody has signed them.

    run  what stands for the run where it is not its record's own digest
    """
    run, provenance = run or file_digest(record.path), record.provenance
    for patient in record.patients:
        yield Findings(
            patient_id=patient["patient_id"],
            specimen=patient["specimen"],
            centers=tuple(patient["center"]),
            smear_ids=tuple(patient["smear_ids"]),
            denominator=patient["denominator"],
            n_counted=patient["n_counted"],
            n_cells=patient["n_cells"],
            n_unidentified=patient["n_unidentified"],
            rows=tuple(patient["differential"]),
            ratios=tuple(patient["ratios"]),
            flags=tuple(patient["flags"]),
            nucleated_red_per_100=patient["nucleated_red_per_100"],
            artefacts_per_100=patient["artefacts_per_100"],
            taxonomy=record.taxonomy,
            version=str(provenance.get("leukoscope", "")),
            models=_models(provenance),
            run=run,
        )


def findings_of_signed(signed: dict) -> Findings:
    """A signed record (the reading room's JSON); DataError where it is none, or of another version."""
    missing = _SIGNED_KEYS - set(signed)
    if missing or signed["signed_version"] != SIGNED_VERSION:
        got = f"it lacks {', '.join(sorted(missing))}" if missing else f"signed_version {signed['signed_version']!r}"
        raise DataError(f"no signed record of version {SIGNED_VERSION}: {got}; fetch it from the reading room again")
    numbers, provenance = signed["numbers"], signed["provenance"]
    taxonomy, specimen = Taxonomy.from_dict(provenance["taxonomy"]), signed["specimen"]
    counts = {row["class"]: row["count"] for row in numbers["differential"]}
    of_class = np.array([counts.get(name, 0) for name in taxonomy.names])
    differential = Differential(
        signed["patient_id"], specimen, of_class, of_class, 0, taxonomy, n_unidentified=numbers["unidentified"]
    )
    roles = roles_of(taxonomy, specimen)
    keys = ("class", "count", "share")
    return Findings(
        patient_id=signed["patient_id"],
        specimen=specimen,
        centers=tuple([signed["center"]] if signed.get("center") else ()),
        smear_ids=tuple(signed["smear_ids"]),
        denominator=LEUKOCYTES if specimen == "blood" else NUCLEATED,
        n_counted=numbers["n_counted"],
        n_cells=numbers["n_cells"],
        n_unidentified=numbers["unidentified"],
        rows=tuple({k: row[k] for k in keys} | {"role": roles[row["class"]]} for row in numbers["differential"]),
        ratios=tuple(numbers["ratios"]),
        flags=tuple(numbers["flags"]),
        nucleated_red_per_100=nucleated_red_per_100(differential),
        artefacts_per_100=artefacts_per_100(differential),
        taxonomy=taxonomy,
        version=str(provenance.get("leukoscope", "")),
        models=_models(provenance),
        run=signed["record_sha256"],
        signature=_signature(signed),
    )


def read_signed(path: str | Path) -> dict:
    """A signed record's JSON file; DataError where it holds none."""
    try:
        value = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"can't read the signed record {path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(value, dict) or "signed_version" not in value:
        raise DataError(f"{path} is no signed record: it lacks signed_version; fetch it from the reading room again")
    return value


def _models(provenance: dict) -> tuple[str, ...]:
    return tuple(f"{part} {model.get('name', '')}" for part, model in (provenance.get("models") or {}).items())


def _signature(signed: dict) -> Signature | None:
    who = signed.get("signed")
    if not who:
        return None
    readers = dict.fromkeys(reading["reader"] for reading in signed.get("readings", ()))
    signed_at = who.get("at")
    return Signature(
        int(signed.get("version", 1)), who["by"], None if signed_at is None else int(signed_at), tuple(readers)
    )

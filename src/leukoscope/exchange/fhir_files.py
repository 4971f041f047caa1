"""FHIR bundles as files: one a patient, and the code system that they speak."""

from collections.abc import Iterator
from pathlib import Path

from leukoscope.exchange.fhir import bundle, code_system
from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.source import Source
from leukoscope.files import write_json

CODES = "CodeSystem-leukoscope.json"


def write_fhir(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write PATIENT.json for every patient; each appears whole or not at all."""
    write_json(out / CODES, code_system())
    for findings in source.findings():
        name = names.of(findings.patient_id, "patient") + ".json"
        write_json(out / name, bundle(findings, patient_system=wishes.patient_system))
        yield Written(name, (findings.patient_id,))

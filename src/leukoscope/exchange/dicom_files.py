"""DICOM objects as files: a folder a patient with its photographs, their annotations and the report."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from leukoscope.exchange.dicom_annotations import annotations_object
from leukoscope.exchange.dicom_common import Whose
from leukoscope.exchange.dicom_image import header_of, image_object
from leukoscope.exchange.dicom_report import report_object
from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.findings import Findings
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.photographs import pixels_of
from leukoscope.exchange.source import Source
from leukoscope.files import write_whole

NO_TIME = datetime(1900, 1, 1, tzinfo=UTC)  # where a time must stand and none may be told (PS3.15, a dummy value)
OF_SLIDE = "regions of slides are not written as photographs: the slide itself is the image, and the report counts them"
SIGNED_NOTE = "a signed record does not say which photographs are meant: its report is written, without cells"


def write_dicom(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write PATIENT/photograph-N.dcm, PATIENT/cells-N.dcm and PATIENT/report.dcm; each whole or not at all."""
    patients = {f.patient_id: (_whose(source, f), f) for f in source.findings()}
    folders = {patient_id: names.of(patient_id, "patient") for patient_id in patients}
    images: dict[str, list[Dataset]] = {patient_id: [] for patient_id in patients}
    for folder in folders.values():
        (out / folder).mkdir(parents=True, exist_ok=True)
    for photograph, cells in source.photographs() if source.record else ():
        patient_id = photograph.patient_id
        if photograph.status == "failed" or patient_id not in patients:
            continue
        record = source.origin or source.path
        pixels = OF_SLIDE if photograph.region else pixels_of(photograph, record, wishes.photographs)
        if isinstance(pixels, str):
            yield Written("", (patient_id,), photograph.file, note=pixels)
            continue
        whose, number = patients[patient_id][0], len(images[patient_id]) + 1
        image = image_object(whose, photograph, pixels[1], pixels[0], number=number)
        name = f"{folders[patient_id]}/photograph-{number:04d}.dcm"
        _save(image, out / name)
        yield Written(name, (patient_id,), photograph.file)
        images[patient_id].append(header_of(image))
        made = annotations_object(whose, image, cells, what=str(photograph.place), number=number)
        if made is not None:
            name = f"{folders[patient_id]}/cells-{number:04d}.dcm"
            _save(made[0], out / name)
            yield Written(name, (patient_id,), photograph.file, made[1])
    for patient_id, (whose, findings) in patients.items():
        name = f"{folders[patient_id]}/report.dcm"
        _save(report_object(whose, findings, images[patient_id]), out / name)
        yield Written(name, (patient_id,), note="" if source.record else SIGNED_NOTE)


def _whose(source: Source, findings: Findings) -> Whose:
    signed = findings.signature
    seconds = signed.at_ms / 1000 if signed and signed.at_ms is not None else source.path.stat().st_mtime
    return Whose(
        findings.run,
        findings.patient_id,
        findings.specimen,
        findings.version,
        findings.models,
        NO_TIME if source.anonymous else datetime.fromtimestamp(seconds, UTC),
        source.anonymous,
    )


def _save(header: Dataset, path: Path) -> None:
    with write_whole(path, "wb") as file:
        header.save_as(file, enforce_file_format=True)

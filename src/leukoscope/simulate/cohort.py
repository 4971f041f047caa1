"""`simulate_cohort`: patients of several laboratories with a known diagnosis, as a data set that a clinic could send.

Every picture is a drawing and says so. What is true of it is written beside it: see docs/rendered.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.manifest import TruthField
from leukoscope.errors import InputError
from leukoscope.files import write_json, write_rows
from leukoscope.progress import Progress, no_progress
from leukoscope.simulate.cell import choose_clone
from leukoscope.simulate.disease import (
    HIGH,
    LOW,
    NEAR_HIGH,
    NEAR_LOW,
    TAXONOMY_OF,
    Patient,
    patient_truth,
    plan_patients,
)
from leukoscope.simulate.field import Placed, render_field
from leukoscope.simulate.look import Look, choose_centers, field_look, patient_look
from leukoscope.simulate.smear import check_place, picture_of
from leukoscope.simulate.writing import NOTE, truth_field, write_manifest, write_mask, write_picture
from leukoscope.types import FieldKey

FIELDS_PER_PATIENT = {"blood": 10, "marrow": 5}
CELLS_PER_FIELD = {"blood": (8, 16), "marrow": (32, 48)}
MOST_CELLS = 80
UNLISTED = {"blood": frozenset(), "marrow": frozenset({"smudge_cell", "artefact", "cut_cell"})}
PATIENT_COLUMNS = ("file", "patient_id", "smear_id", "center", "specimen", "um_per_px", "diagnosis", "disease",
                   "n_counted", "blast_ratio", "cblc_ratio")  # fmt: skip
CELL_COLUMNS = ("file", "cell", "class", "drawn_as", "visible", "blur_um", "auer_rods")


@dataclass(frozen=True, slots=True)
class CohortOptions:
    """How large a cohort is.

    fields_per_patient, cells_per_field   None: 10 fields of 8 to 16 cells in blood, 5 of 32 to 48 in marrow
    near_line   blast ratios of 8 to 36 % around the line of 20 %, not of 0 to 90: patients that are hard to tell apart
    """

    specimen: str
    patients: int
    centers: int
    seed: int
    fields_per_patient: int | None = None
    cells_per_field: tuple[int, int] | None = None
    near_line: bool = False

    def set_name(self) -> str:
        """What the manifest calls the cohort, and its patients' ids begin with."""
        return f"rendered-{self.specimen}-{self.seed}{'-near-line' if self.near_line else ''}"

    def n_fields(self) -> int:
        """Fields of one patient."""
        return self.fields_per_patient or FIELDS_PER_PATIENT[self.specimen]

    def n_cells(self) -> tuple[int, int]:
        """Fewest and most cells of one field."""
        return self.cells_per_field or CELLS_PER_FIELD[self.specimen]

    def ratios(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Planned blast ratios of patients without and with acute leukaemia, lowest and highest."""
        return (NEAR_LOW, NEAR_HIGH) if self.near_line else (LOW, HIGH)


def simulate_cohort(out: str | Path, options: CohortOptions, *, progress: Progress = no_progress) -> Path:
    """Draw patients of several centres into folder `out`, with their truth; returns `out`.

    images/PATIENT/rendered_*.jpg   in the centre's size and scale, each with the word RENDERED in a corner
    masks/rendered_*.png            the cells' cytoplasm (140) and nuclei (255) on 0, a picture each
    dataset.json, fields.jsonl      the manifest: class, box and visible outline of every cell; no split
    patients.csv                    a row a picture: patient, centre, scale, diagnosis and true ratios
    cells.csv                       a row a cell of the manifest: how it was drawn, how much of it is seen
    cvat/                           the same as a CVAT project, pictures copied: annotations.xml, labels.json, images/
    truth.json                      counts, ratios and diagnosis of each patient, and what each centre looks like

    Blood is annotated with PCM-Leukemia's nine classes, marrow with the sixteen of `marrow-16`. The same options
    give the same bytes (with the same numpy and Pillow). `progress` is called with (done, total) fields. InputError
    for numbers that make no sense, or when `out` holds pictures already.
    """
    out = Path(out)
    _check(out, options)
    rng = np.random.default_rng(options.seed)
    centers = choose_centers(rng, options.centers, specimen=options.specimen)
    plan = plan_patients(rng, options)
    fields: list[TruthField] = []
    cell_rows: list[tuple] = []
    truths = []
    for number, patient in enumerate(plan):
        drawn = _draw_patient(out, options, number, patient, centers[patient.center])
        written = []
        for field, cells in drawn:
            written.append(field)
            rows = enumerate(zip(field.cells, cells, strict=True))
            cell_rows += [_cell_row(field, k, truth.class_name, cell) for k, (truth, cell) in rows]
            progress(len(fields) + len(written), len(plan) * options.n_fields())
        fields += written
        truths.append(patient_truth(patient, written, options.specimen))
    _write_truth(out, options, centers, fields, truths)
    write_rows(out / "cells.csv", [CELL_COLUMNS, *cell_rows])
    write_manifest(out, options.set_name(), fields)
    export_dataset("cvat", out, out / "cvat")
    return out


def center_name(number: int) -> str:
    """center-1, center-2, ..."""
    return f"center-{number + 1}"


def _draw_patient(out: Path, options: CohortOptions, number: int, patient: Patient, center: Look):
    """Yields each field's manifest entry, and its cells in the entry's order."""
    rng = np.random.default_rng([options.seed, number])
    look, clone = patient_look(rng, center), choose_clone(rng)
    for place, cells in enumerate(patient.fields):
        rng = np.random.default_rng([options.seed, number, place + 1])
        drawings = [drawing for _, drawing in cells]
        class_of = {drawing: class_name for class_name, drawing in cells}
        fat = options.specimen == "marrow"
        pixels, placed = render_field(rng, field_look(rng, look), drawings, clone=clone, fat=fat)
        listed = [c for c in placed if c.drawn_as not in UNLISTED[options.specimen]]
        file = picture_of(patient.patient_id, place)
        sha256 = write_picture(out, file, pixels, quality=look.quality)
        write_mask(out, file, look, placed)
        key = FieldKey(
            Path(file).stem, patient.patient_id, patient.patient_id, center_name(patient.center), options.specimen
        )
        named = [(class_of[c.drawn_as], c) for c in listed]
        yield truth_field(key, file, sha256, look, named), listed


def _cell_row(field: TruthField, number: int, class_name: str, cell: Placed) -> tuple:
    return (field.file, number, class_name, cell.drawn_as, cell.visible, cell.blur_um, cell.n_rods)


def _write_truth(
    out: Path, options: CohortOptions, centers: list[Look], fields: list[TruthField], truths: list[dict]
) -> None:
    looks = {center_name(k): look.to_dict() for k, look in enumerate(centers)}
    head = {"note": NOTE, "seed": options.seed, "specimen": options.specimen}
    head |= {"taxonomy": TAXONOMY_OF[options.specimen].name}
    write_json(out / "truth.json", head | {"centers": looks, "patients": truths})
    by_id = {t["patient_id"]: t for t in truths}
    rows = []
    for field in fields:
        truth = by_id[field.key.patient_id]
        who = (field.file, field.key.patient_id, field.key.smear_id, field.key.center, field.key.specimen)
        ratios = (_number(truth["blast_ratio"]), _number(truth["cblc_ratio"]))
        what = (truth["diagnosis"], truth["disease"], truth["n_counted"], *ratios)
        rows.append((*who, field.um_per_px, *what))
    write_rows(out / "patients.csv", [PATIENT_COLUMNS, *rows])


def _number(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.4f}"


def _check(out: Path, options: CohortOptions) -> None:
    check_place(out, options.specimen)
    low, high = options.n_cells()
    if min(options.patients, options.centers, options.n_fields()) < 1 or options.seed < 0:
        raise InputError(
            "a cohort needs at least 1 patient, 1 center, 1 field a patient and a seed of 0 or more, got "
            f"{options.patients}, {options.centers}, {options.n_fields()} and {options.seed}"
        )
    if options.centers > options.patients:
        raise InputError(
            f"a cohort of {options.patients} patients can't come from {options.centers} centers: "
            "give each center a patient at least"
        )
    if not 1 <= low <= high <= MOST_CELLS or options.patients > 999:
        raise InputError(
            f"a cohort has 1 to {MOST_CELLS} cells a field and at most 999 patients, got {low} to {high} and "
            f"{options.patients}"
        )

"""`simulate`: patients with a known blast ratio, their rendered photographs, and everything that is true of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.errors import InputError
from leukoscope.simulate.cell import PX_PER_UM
from leukoscope.simulate.field import Placed, render_field
from leukoscope.simulate.look import choose_look
from leukoscope.simulate.writing import NOTE, truth_field, write_json, write_manifest, write_picture, write_table
from leukoscope.types import SPECIMENS, FieldKey

CENTER = "rendered"
HIGHEST_RATIO = 0.9
BLASTS = ("lymphoblast", "myeloblast", "apl_promyelocyte")  # patients with blasts take turns
NOT_COUNTED = ("smudge_cell", "artefact")
NOT_COUNTED_SHARE = 0.07

# Shares of the cells that are no blasts.
MIXES = {
    "blood": {
        "segmented_neutrophil": 0.50, "lymphocyte": 0.26, "monocyte": 0.08, "band_neutrophil": 0.07, "eosinophil": 0.06,
        "basophil": 0.03,
    },
    "blood with blasts": {
        "segmented_neutrophil": 0.34, "lymphocyte": 0.22, "monocyte": 0.08, "band_neutrophil": 0.09, "eosinophil": 0.05,
        "basophil": 0.03, "metamyelocyte": 0.05, "myelocyte": 0.05, "promyelocyte": 0.02, "erythroblast": 0.07,
    },
    "marrow": {
        "segmented_neutrophil": 0.16, "band_neutrophil": 0.13, "metamyelocyte": 0.13, "myelocyte": 0.12,
        "promyelocyte": 0.04, "eosinophil": 0.03, "basophil": 0.01, "lymphocyte": 0.11, "monocyte": 0.02,
        "erythroblast": 0.25,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Patient:
    """What is to be drawn for one patient: the class names of each field."""

    patient_id: str
    blast_class: str | None
    fields: tuple[tuple[str, ...], ...]

    def truth(self, drawn: list[str]) -> dict:
        """The patient's entry in truth.json; the ratio is over all nucleated cells, whole or cut a little."""
        counts = Counter(drawn)
        n_counted = sum(n for name, n in counts.items() if name not in NOT_COUNTED)
        n_blasts = counts[self.blast_class] if self.blast_class else 0
        return {
            "patient_id": self.patient_id,
            "blast_class": self.blast_class,
            "n_fields": len(self.fields),
            "counts": dict(sorted(counts.items())),
            "n_counted": n_counted,
            "n_blasts": n_blasts,
            "blast_ratio": n_blasts / n_counted if n_counted else None,
        }


def simulate(
    out: str | Path,
    *,
    patients: int,
    seed: int,
    fields_per_patient: int = 12,
    cells_per_field: tuple[int, int] = (6, 10),
    specimen: str = "blood",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Draw smears of `patients` patients into folder `out`, with their truth; returns `out`.

    images/PATIENT/rendered_*.jpg   1024 x 768 px at 0.1 µm/px, each with the word RENDERED in a corner
    dataset.json, fields.jsonl      the manifest: boxes, contours and classes of white cells, smudges and artefacts
                                    (red cells and platelets are drawn and not listed); every field is split "test"
    patients.csv                    file, patient_id, smear_id, center: for `analyze --patients`
    truth.json                      each patient's counts and blast ratio, spread over 0 to 90 %

    For patients of several centres see `simulate_cohort`. The same arguments give the same bytes (with the same
    numpy and Pillow). `progress` is called with (done, total) fields. InputError for numbers that make no sense, or
    when `out` holds pictures already.
    """
    out = Path(out)
    _check(out, patients, seed, fields_per_patient, cells_per_field, specimen)
    plan = _plan(patients, seed, fields_per_patient, cells_per_field, specimen)
    fields, truths = [], []
    for number, patient in enumerate(plan):
        look = choose_look(np.random.default_rng([seed, number]))
        for place, class_names in enumerate(patient.fields):
            rng = np.random.default_rng([seed, number, place + 1])
            pixels, placed = render_field(rng, look, [_drawing(rng, name) for name in class_names])
            file = f"images/{patient.patient_id}/rendered_{number + 1:03d}_{place + 1:03d}.jpg"
            sha256 = write_picture(out, file, pixels, quality=look.quality)
            key = FieldKey(Path(file).stem, patient.patient_id, patient.patient_id, CENTER, specimen)
            fields.append(truth_field(key, file, sha256, look, [(_class(c), c) for c in placed], split="test"))
            progress(len(fields), patients * fields_per_patient)
        own = fields[-len(patient.fields) :]
        truths.append(patient.truth([cell.class_name for field in own for cell in field.cells]))
    head = {"note": NOTE, "seed": seed, "specimen": specimen, "um_per_px": 1 / PX_PER_UM}
    write_json(out / "truth.json", head | {"patients": truths})
    rows = [(f.file, f.key.patient_id, f.key.smear_id, f.key.center) for f in fields]
    write_table(out / "patients.csv", ("file", "patient_id", "smear_id", "center"), rows)
    write_manifest(out, f"rendered-{seed}", fields)
    return out


def _drawing(rng: np.random.Generator, class_name: str) -> str:
    """An artefact is a heap of stain, or a cell of which the edge hides more than half (PCM-Leukemia's "Other")."""
    return "cut_cell" if class_name == "artefact" and rng.random() < 0.5 else class_name


def _class(cell: Placed) -> str:
    return "artefact" if cell.drawn_as == "cut_cell" else cell.drawn_as


def _check(
    out: Path, patients: int, seed: int, fields_per_patient: int, cells_per_field: tuple[int, int], specimen: str
) -> None:
    low, high = cells_per_field
    if patients < 1 or fields_per_patient < 1 or seed < 0 or not 1 <= low <= high <= 14:
        raise InputError(
            "simulate needs at least 1 patient, 1 field a patient, a seed of 0 or more and 1 to 14 cells a field, "
            f"got {patients}, {fields_per_patient}, {seed} and {low} to {high}"
        )
    check_place(out, specimen)


def check_place(out: Path, specimen: str) -> None:
    """InputError for an unknown specimen, or a folder that holds pictures."""
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    for name in ("images", "cvat"):
        if (out / name).exists():
            raise InputError(f"{out} already holds pictures: choose another folder, or delete {out / name} first")


def _plan(
    patients: int, seed: int, fields_per_patient: int, cells_per_field: tuple[int, int], specimen: str
) -> list[_Patient]:
    """Who has how many blasts of which class, and which cells lie on which field."""
    rng = np.random.default_rng(seed)
    ratios = np.linspace(0, HIGHEST_RATIO, patients) if patients > 1 else rng.uniform(0.2, HIGHEST_RATIO, 1)
    plan, n_with_blasts = [], 0
    for number, ratio in enumerate(rng.permutation(ratios)):
        blast_class = BLASTS[n_with_blasts % len(BLASTS)] if ratio > 0 else None
        n_with_blasts += ratio > 0
        mix = MIXES["blood with blasts" if specimen == "blood" and ratio > 0 else specimen]
        sizes = rng.integers(cells_per_field[0], cells_per_field[1] + 1, fields_per_patient)
        n_cells = int(sizes.sum())
        n_other = round(NOT_COUNTED_SHARE * n_cells)
        n_blasts = round(float(ratio) * (n_cells - n_other))
        names = [blast_class] * n_blasts
        names += rng.choice(list(mix), n_cells - n_other - n_blasts, p=np.array(list(mix.values()))).tolist()
        names += rng.choice(NOT_COUNTED, n_other).tolist()
        fields = dealt(rng, names, sizes.tolist())
        plan.append(_Patient(f"rendered-{number + 1:03d}", blast_class, fields))
    return plan


def dealt(rng: np.random.Generator, names: list[str], sizes: list[int]) -> tuple[tuple[str, ...], ...]:
    """A patient's cells, shuffled and dealt out over fields of these sizes."""
    names = [names[i] for i in rng.permutation(len(names))]
    ends = np.cumsum(sizes).tolist()
    return tuple(tuple(names[end - size : end]) for end, size in zip(ends, sizes, strict=True))

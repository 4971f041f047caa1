"""`simulate`: patients with a known blast ratio, their rendered photographs, and everything that is true of them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.cores import usable_cores
from leukoscope.dataset.manifest import TruthField
from leukoscope.errors import InputError
from leukoscope.files import write_json, write_rows
from leukoscope.progress import Progress, no_progress
from leukoscope.simulate.cell import PX_PER_UM
from leukoscope.simulate.field import Placed, render_field
from leukoscope.simulate.kinds import KINDS, MARROW_MIX, NOT_COUNTED, Kind
from leukoscope.simulate.look import choose_look
from leukoscope.simulate.writing import NOTE, truth_field, write_manifest, write_picture
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import SPECIMENS, FieldKey

CENTER = "rendered"
MOST_CELLS = 14  # white cells that a field of the demo has room for
MOST_THREADS = 8  # each holds a picture of optical density, 30 MB


@dataclass(frozen=True, slots=True)
class _Patient:
    """What is to be drawn for one patient: the class names of each field."""

    patient_id: str
    specimen: str
    kind: Kind
    fields: tuple[tuple[str, ...], ...]


def simulate(
    out: str | Path,
    *,
    patients: int,
    seed: int,
    fields_per_patient: int = 14,
    cells_per_field: tuple[int, int] = (10, 14),
    specimen: str = "blood",
    progress: Progress = no_progress,
) -> Path:
    """Draw smears of `patients` patients into folder `out`, with their truth; returns `out`.

    images/PATIENT/rendered_*.jpg   1024 x 768 px at 0.1 µm/px, each with the word RENDERED in a corner
    dataset.json, fields.jsonl      the manifest: boxes, contours and classes of white cells, smudges and artefacts
                                    (red cells and platelets are drawn and not listed); no split
    patients.csv                    file, patient_id, smear_id, center: for `analyze --patients`
    truth.json                      each patient's kind (`simulate.kinds`), counts and blast ratio

    For patients of several centres see `simulate_cohort`. The same arguments give the same bytes (with the same
    numpy and Pillow). `progress` is called with (done, total) fields. InputError for numbers that make no sense, or
    when `out` holds pictures already.
    """
    out = Path(out)
    _check(out, patients, seed, fields_per_patient, cells_per_field, specimen)
    plan = _plan(patients, seed, fields_per_patient, cells_per_field, specimen)
    fields: list[TruthField] = []
    jobs = [(number, place) for number, patient in enumerate(plan) for place in range(len(patient.fields))]
    with ThreadPoolExecutor(min(usable_cores(), MOST_THREADS)) as pool:
        try:
            for field in pool.map(lambda job: _draw(out, plan[job[0]], seed, *job), jobs):
                fields.append(field)
                progress(len(fields), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    truths = [_truth(patient, fields) for patient in plan]
    head = {"note": NOTE, "seed": seed, "specimen": specimen, "um_per_px": 1 / PX_PER_UM}
    write_json(out / "truth.json", head | {"patients": truths})
    rows = [(f.file, f.key.patient_id, f.key.smear_id, f.key.center) for f in fields]
    write_rows(out / "patients.csv", [("file", "patient_id", "smear_id", "center"), *rows])
    write_manifest(out, set_name(seed), fields)
    return out


def _draw(out: Path, patient: _Patient, seed: int, number: int, place: int) -> TruthField:
    """One picture on file, and its entry; a picture has a seed of its own, so it matters not who draws it when."""
    look = choose_look(np.random.default_rng([seed, number]))
    rng = np.random.default_rng([seed, number, place + 1])
    pixels, placed = render_field(rng, look, [_drawing(rng, name) for name in patient.fields[place]])
    file = picture_of(patient.patient_id, place)
    sha256 = write_picture(out, file, pixels, quality=look.quality)
    key = FieldKey(Path(file).stem, patient.patient_id, patient.patient_id, CENTER, patient.specimen)
    return truth_field(key, file, sha256, look, [(_class(c), c) for c in placed])


def _truth(patient: _Patient, fields: list[TruthField]) -> dict:
    """The patient's entry in truth.json, from the cells that were drawn, not from those that were planned."""
    of_patient = [f for f in fields if f.key.patient_id == patient.patient_id]
    counts = Counter(cell.class_name for field in of_patient for cell in field.cells)
    nucleated = tuple(name for name in counts if name not in NOT_COUNTED)
    inside = Taxonomy("drawn", nucleated, nucleated).denominator(patient.specimen) if nucleated else ()
    n_counted = sum(counts[name] for name in inside)
    n_blasts = counts[patient.kind.blast_class] if patient.kind.blast_class else 0
    return {
        "patient_id": patient.patient_id,
        "kind": patient.kind.name,
        "blast_class": patient.kind.blast_class,
        "n_fields": len(of_patient),
        "counts": dict(sorted(counts.items())),
        "n_counted": n_counted,
        "n_blasts": n_blasts,
        "blast_ratio": n_blasts / n_counted if n_counted else None,
    }


def _drawing(rng: np.random.Generator, class_name: str) -> str:
    """An artefact is a heap of stain, or a cell of which the edge hides more than half (PCM-Leukemia's "Other")."""
    return "cut_cell" if class_name == "artefact" and rng.random() < 0.5 else class_name


def _class(cell: Placed) -> str:
    return "artefact" if cell.drawn_as == "cut_cell" else cell.drawn_as


def _check(
    out: Path, patients: int, seed: int, fields_per_patient: int, cells_per_field: tuple[int, int], specimen: str
) -> None:
    low, high = cells_per_field
    if patients < 1 or fields_per_patient < 1 or seed < 0 or not 1 <= low <= high <= MOST_CELLS:
        raise InputError(
            "simulate needs at least 1 patient, 1 field a patient, a seed of 0 or more and 1 to "
            f"{MOST_CELLS} cells a field, got {patients}, {fields_per_patient}, {seed} and {low} to {high}"
        )
    check_place(out, specimen)


def check_place(out: Path, specimen: str) -> None:
    """InputError for an unknown specimen, or a folder that holds pictures."""
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    for name in ("images", "cvat"):
        if (out / name).exists():
            raise InputError(f"{out} already holds pictures: choose another folder, or delete {out / name} first")


def set_name(seed: int) -> str:
    """What the manifest calls a set of `simulate`."""
    return f"rendered-{seed}"


def patient_id_of(name: str, number: int) -> str:
    """NAME-NUMBER, numbers from 1; the set's name carries its seed, so patients of two seeds never share an id."""
    return f"{name}-{number + 1:03d}"


def picture_of(patient_id: str, place: int) -> str:
    """images/PATIENT/rendered_SEED_NUMBER_FIELD.jpg, fields from 1."""
    return f"images/{patient_id}/{patient_id.replace('-', '_')}_{place + 1:03d}.jpg"


def _plan(
    patients: int, seed: int, fields_per_patient: int, cells_per_field: tuple[int, int], specimen: str
) -> list[_Patient]:
    """Who is of which kind and has how many blasts, and which cells lie on which field."""
    rng = np.random.default_rng(seed)
    kinds = [KINDS[turn % len(KINDS)] for turn in range(patients)]
    plan = []
    for number, turn in enumerate(rng.permutation(patients)):  # a patient's number says nothing of its kind
        kind = kinds[turn]
        sizes = rng.integers(cells_per_field[0], cells_per_field[1] + 1, fields_per_patient)
        names = _cells(rng, kind, int(sizes.sum()), specimen)
        fields = dealt(rng, names, sizes.tolist())
        plan.append(_Patient(patient_id_of(set_name(seed), number), specimen, kind, fields))
    return plan


def _cells(rng: np.random.Generator, kind: Kind, n_cells: int, specimen: str) -> list[str]:
    """The class names of one patient's cells."""
    mix = MARROW_MIX if specimen == "marrow" else kind.mix
    names = [name for name, share in kind.not_counted.items() for _ in range(round(share * n_cells))]
    n_counted = n_cells - len(names)
    n_blasts = round(rng.uniform(*kind.ratios) * n_counted)
    names += [kind.blast_class] * n_blasts if kind.blast_class else []
    weights = np.array(list(mix.values()))
    return names + rng.choice(list(mix), n_counted - n_blasts, p=weights / weights.sum()).tolist()


def dealt(rng: np.random.Generator, names: list[str], sizes: list[int]) -> tuple[tuple[str, ...], ...]:
    """A patient's cells, shuffled and dealt out over fields of these sizes."""
    names = [names[i] for i in rng.permutation(len(names))]
    ends = np.cumsum(sizes).tolist()
    return tuple(tuple(names[end - size : end]) for end, size in zip(ends, sizes, strict=True))

"""`simulate`: patients with a known blast ratio, their rendered photographs, and everything that is true of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.errors import InputError
from leukoscope.simulate.field import HEIGHT, WIDTH, Placed, choose_look, render_field
from leukoscope.simulate.white_cells import PX_PER_UM
from leukoscope.types import SPECIMENS, FieldKey

CENTER = "rendered"
HIGHEST_RATIO = 0.9
BLASTS = ("lymphoblast", "myeloblast", "apl_promyelocyte")  # patients with blasts take turns
NOT_COUNTED = ("smudge_cell", "artefact")
NOT_COUNTED_SHARE = 0.07
NOTE = "Rendered by leukoscope simulate: drawings with known truth, not photographs of anybody's blood."

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
    """What is drawn for one patient: the class names of each field."""

    patient_id: str
    blast_class: str | None
    fields: tuple[tuple[str, ...], ...]

    def truth(self) -> dict:
        """The patient's entry in truth.json; the ratio is over all nucleated cells, whole or cut a little."""
        counts = Counter(name for field in self.fields for name in field)
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

    The same arguments give the same bytes (with the same numpy and Pillow). `progress` is called with (done, total)
    fields. InputError for numbers that make no sense, or when `out` holds pictures already.
    """
    out = Path(out)
    _check(out, patients, seed, fields_per_patient, cells_per_field, specimen)
    plan = _plan(patients, seed, fields_per_patient, cells_per_field, specimen)
    fields = []
    for number, patient in enumerate(plan):
        look = choose_look(np.random.default_rng([seed, number]))
        for place, class_names in enumerate(patient.fields):
            rng = np.random.default_rng([seed, number, place + 1])
            pixels, placed = render_field(rng, look, list(class_names))
            file = f"images/{patient.patient_id}/rendered_{number + 1:03d}_{place + 1:03d}.jpg"
            data = _encode(pixels, look.quality)
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_bytes(data)
            fields.append(_truth_field(file, data, patient.patient_id, placed, specimen))
            progress(len(fields), patients * fields_per_patient)
    _write_truth(out, plan, fields, seed=seed, specimen=specimen)
    return out


def _check(
    out: Path, patients: int, seed: int, fields_per_patient: int, cells_per_field: tuple[int, int], specimen: str
) -> None:
    low, high = cells_per_field
    if patients < 1 or fields_per_patient < 1 or seed < 0 or not 1 <= low <= high <= 14:
        raise InputError(
            "simulate needs at least 1 patient, 1 field a patient, a seed of 0 or more and 1 to 14 cells a field, "
            f"got {patients}, {fields_per_patient}, {seed} and {low} to {high}"
        )
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    if (out / "images").exists():
        raise InputError(f"{out} already holds pictures: choose another folder, or delete {out / 'images'} first")


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
        names = [names[i] for i in rng.permutation(n_cells)]
        ends = np.cumsum(sizes).tolist()
        cells = tuple(tuple(names[end - size : end]) for end, size in zip(ends, sizes.tolist(), strict=True))
        plan.append(_Patient(f"rendered-{number + 1:03d}", blast_class, cells))
    return plan


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, comment=NOTE.encode())
    return buffer.getvalue()


def _truth_field(file: str, data: bytes, patient_id: str, placed: list[Placed], specimen: str) -> TruthField:
    cells = []
    for cell in placed:
        contour = cell.contour.round(2)
        box = (*contour.min(0).tolist(), *contour.max(0).tolist())
        cells.append(TruthCell(box, cell.class_name, cell.class_name, tuple(map(tuple, contour.tolist()))))
    return TruthField(
        key=FieldKey(Path(file).stem, patient_id, patient_id, CENTER, specimen),
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        width=WIDTH,
        height=HEIGHT,
        cells=tuple(cells),
        um_per_px=1 / PX_PER_UM,
        split="test",
    )


def _write_truth(out: Path, plan: list[_Patient], fields: list[TruthField], *, seed: int, specimen: str) -> None:
    truth = {
        "note": NOTE,
        "seed": seed,
        "specimen": specimen,
        "um_per_px": 1 / PX_PER_UM,
        "patients": [patient.truth() for patient in plan],
    }
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", "utf-8")
    rows = [f"{f.file},{f.key.patient_id},{f.key.smear_id},{f.key.center}\n" for f in fields]
    (out / "patients.csv").write_text("file,patient_id,smear_id,center\n" + "".join(rows), "utf-8")
    dataset = Dataset(
        name=f"rendered-{seed}",
        image_root=out,
        fields=tuple(fields),
        licence="Apache-2.0",
        citation=NOTE,
        source_format="simulate",
    )
    write_dataset(dataset, out)

"""The demo: rendered patients whose truth is known, analysed, and what was found set beside what was drawn."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import TruthField, read_dataset
from leukoscope.entries import FieldEntry
from leukoscope.errors import UNREADABLE, InputError, in_short
from leukoscope.evaluate.boxes import pair_boxes
from leukoscope.pipeline.analyze import WORK, AnalyzeOptions, analyze
from leukoscope.pipeline.journal import Journal
from leukoscope.progress import StageProgress, no_stages, of_stage
from leukoscope.report import Known, Record, read_record, write_report
from leukoscope.simulate import simulate

MODEL, LOCATOR = "rendered", "blood"  # decision 0029: drawings are named by a classifier that learnt drawings
PATIENTS = 4  # one of each of the first kinds (simulate.kinds)
UM_PER_PX = 0.1
MIN_CELLS = 100  # laboratories count 200; half of that is drawn in half the time, and the page says so
LEAST_CALLED = 0.9  # share of the drawn blasts that must be called blasts


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one rendered patient, beside what was drawn.

    known            what was drawn
    value, low, high the printed blast ratio and its limits
    n_called         drawn blasts that were called blasts
    """

    known: Known
    value: float
    low: float
    high: float
    n_called: int

    @property
    def inside(self) -> bool:
        """Whether the true ratio lies in the printed interval."""
        return self.low <= self.known.blast_ratio <= self.high


@dataclass(frozen=True, slots=True)
class Demo:
    """A finished demo: where its report is, and each patient, in the record's order."""

    report: Path
    patients: tuple[Found, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not right, in words; () where all is."""
        wrong = [f"{f.known.patient_id}'s true ratio lies outside the interval" for f in self.patients if not f.inside]
        n_drawn, n_called = (sum(n) for n in zip(*((f.known.n_blasts, f.n_called) for f in self.patients), strict=True))
        if n_called < LEAST_CALLED * n_drawn:
            wrong.append(f"only {n_called} of {n_drawn} drawn blasts were called blasts")
        return tuple(wrong)


def run_demo(out: str | Path, *, seed: int, fields_per_patient: int = 12, progress: StageProgress = no_stages) -> Demo:
    """Draw patients into OUT/smears, analyse them into OUT/report with the model `rendered`, and compare.

    The report shows the truth beside what was found. The same seed draws the same patients. progress is called with
    (what, done, total). InputError where `out` holds a demo already.
    """
    out = Path(out)
    if (out / "report").exists() or (out / "smears").exists():
        raise InputError(f"{out} holds a demo already: choose another folder, or delete {out / 'smears'} and report")
    smears = simulate(
        out / "smears",
        patients=PATIENTS,
        seed=seed,
        fields_per_patient=fields_per_patient,
        progress=of_stage(progress, "drawing"),
    )
    known = read_known(smears / "truth.json")
    path = analyze(
        [smears / "images"],
        out / "report",
        model=MODEL,
        options=AnalyzeOptions(locator=LOCATOR, um_per_px=UM_PER_PX, min_cells=MIN_CELLS),
        progress=of_stage(progress, "analysing"),
    )
    report = path.with_name("report.html")
    write_report(path, Journal(path.parent / WORK).thumbs_path, report, known=known)
    return Demo(report, compare(read_record(path), smears, known))


def read_known(truth_json: str | Path) -> tuple[Known, ...]:
    """What `simulate` wrote of its patients. InputError where the file is not its truth.json."""
    try:
        entries = json.loads(Path(truth_json).read_text("utf-8"))["patients"]
        return tuple(Known(p["patient_id"], p["kind"], p["n_blasts"], p["n_counted"]) for p in entries)
    except (OSError, *UNREADABLE) as error:
        raise InputError(f"{truth_json} is not the truth.json of `leukoscope simulate`: {in_short(error)}") from None


def compare(record: Record, smears: str | Path, known: tuple[Known, ...]) -> tuple[Found, ...]:
    """Each patient of the record beside what was drawn; cells are matched by their boxes (IoU 0.5)."""
    truths = {Path(f.file).name: f for f in read_dataset(smears).fields}
    called = {k.patient_id: 0 for k in known}
    for field in record.fields():
        called[field["patient_id"]] += _blasts_called(truths[Path(field["file"]).name], field, record.taxonomy.blasts)
    by_id = {k.patient_id: k for k in known}
    rows = []
    for patient in record.patients:
        ratio = next(r for r in patient["ratios"] if r["name"] == "blasts")
        patient_id, numbers = patient["patient_id"], (ratio["value"], ratio["low"], ratio["high"])
        value, low, high = (math.nan if v is None else v for v in numbers)
        rows.append(Found(by_id[patient_id], value, low, high, called[patient_id]))
    return tuple(rows)


def _blasts_called(truth: TruthField, field: FieldEntry, blasts: tuple[str, ...]) -> int:
    """Drawn blasts of one field that were found and called a blast of any kind."""
    if not truth.cells or not field["cells"]:
        return 0
    boxes, scores = ([cell[key] for cell in field["cells"]] for key in ("box", "score"))
    rows = pair_boxes(np.array([c.box for c in truth.cells]), np.array(boxes), np.array(scores))
    pairs = [(truth.cells[row].class_name, c["class"]) for row, c in zip(rows, field["cells"], strict=True) if row >= 0]
    return sum(drawn in blasts and name in blasts for drawn, name in pairs)

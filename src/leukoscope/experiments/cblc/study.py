"""The marrow study in one command: segmentation, two-stage members, predictions, baselines, ablation, page and bundle.

Every step leaves its result in OUT and is not run again; `--resume` goes on where a run stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.errors import ConfigError
from leukoscope.experiments.cblc import baselines
from leukoscope.experiments.cblc.bundle import LeftOut, export_classifier
from leukoscope.experiments.cblc.cohort import DEVELOP, Cohort, patient_key, read_cohort
from leukoscope.experiments.cblc.crop_files import load_crops, median_density, save_crops, with_stain
from leukoscope.experiments.cblc.crops import CropMaker, areas_um2, crop_scale, expert_crops, predicted_crops
from leukoscope.experiments.cblc.members import (
    Member,
    cap_classes,
    component_variants,
    join_probs,
    measure_morphology,
    train_member,
)
from leukoscope.experiments.cblc.patients import left_out_confusion
from leukoscope.experiments.cblc.segment import FieldCells, segment
from leukoscope.experiments.cblc.segmenters import make_locator, make_outline
from leukoscope.experiments.cblc.settings import StudyConfig, StudyFiles, read_settings
from leukoscope.experiments.provenance import provenance
from leukoscope.experiments.rows import Row, fingerprint_of, read_row, run_row
from leukoscope.train.crop_set import CropSet
from leukoscope.train.finetune_run import predict_logits

ABLATED = "ablation"
DETECTOR = "one-stage"
VALIDATION_CELLS = 40  # of a class, on which a member's epochs are validated


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What the command line says."""

    data: Path
    develop: tuple[str, ...]
    validate: tuple[str, ...]
    config: Path
    out: Path
    diagnosis: Path | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the trained members say of every predicted cell, row-aligned with `crops`.

    ensemble (N, C) probabilities: development cells by the member that left their patient out, validation cells by all
    members; single: by that one member, or the first; gt: by stage 1 of it. nucleus_um2 (N,)
    """

    crops: CropSet
    develop: np.ndarray
    ensemble: np.ndarray
    single: np.ndarray
    gt: np.ndarray
    nucleus_um2: np.ndarray

    def confusion(self) -> np.ndarray:
        """(C, C) of matched development cells, each called by a member that left its patient out."""
        return left_out_confusion(self.crops, self.ensemble, self.develop)


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """Everything that tables, figures and the page are made from."""

    options: StudyOptions
    files: StudyFiles
    cohort: Cohort
    cells: list[FieldCells]
    predictions: Predictions
    ablation: dict[str, dict]
    rows: dict[str, Row]
    seconds: dict[str, float]
    about: dict[str, str]


Say = Callable[[str], None]
Show = Callable[[int, int], None]


def run_study(options: StudyOptions, *, say: Say = print, show: Show | None = None) -> Path:
    """Run what is not done yet, then write tables, figures, page and bundle; returns the page's path."""
    from leukoscope.experiments.cblc.report import write_report

    files = read_settings(options.config)
    cohort = read_cohort(
        options.data, files.study.read_taxonomy(), develop=options.develop, validate=options.validate,
        diagnosis=options.diagnosis, folds=files.study.folds, seed=files.study.seed,
    )  # fmt: skip
    _claim(options, files, cohort)
    clock = Clock(options.out / "work" / "seconds.json", say)
    work = options.out / "work"
    cells = _segment(options, files, cohort, clock, show)
    maker = CropMaker.of(files.study, files.classifier.size, None)
    with clock("standardised crops"):
        expert, predicted = _crops(work, cohort, cells, maker, files.study, show)
    members = []
    for fold in range(files.study.folds):
        with clock(f"member {fold + 1} of {files.study.folds}: GT to YOLO, YOLO to YOLO"):
            folder = work / f"member-{fold}"
            members.append(_member(files.study, files, folder, fold, cohort, expert, predicted, show))
    with clock("predictions"):
        predictions = _predict(files.study, work, cohort, cells, predicted, members)
    ablation = _ablate(files, work, cohort, expert, predicted, options, clock)
    rows = {DETECTOR: _detector(options, files, cohort, clock)}
    with clock("bundle"):
        _export(options, files, predictions, members)
    result = StudyResult(options, files, cohort, cells, predictions, ablation, rows, clock.seconds, provenance())
    with clock("tables, figures and page"):
        page = write_report(result)
    return page


class Clock:
    """Says which step runs, and keeps the seconds of each over resumed runs."""

    def __init__(self, path: Path, say: Say) -> None:
        self.path, self.say, self._name, self._started = path, say, "", 0.0
        self.seconds: dict[str, float] = json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def __call__(self, name: str) -> Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self.say(self._name)
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._started
        self.seconds[self._name] = round(self.seconds.get(self._name, 0.0) + spent, 1)
        self.path.write_text(json.dumps(self.seconds, indent=1) + "\n", "utf-8")


def _claim(options: StudyOptions, files: StudyFiles, cohort: Cohort) -> None:
    """Write study.json; ConfigError where OUT holds another study, or this one and --resume was not given."""
    path = options.out / "study.json"
    settings = {name: asdict(part) if part else None for name, part in files_of(files).items()}
    parts = [settings, cohort.dataset.sha256(), options.develop, options.validate]
    diagnoses = {k: p.diagnosis for k, p in cohort.patients.items()}
    digest = fingerprint_of(*parts, diagnoses)
    if path.is_file():
        earlier = json.loads(path.read_text("utf-8"))
        if earlier.get("fingerprint") != digest:
            raise ConfigError(f"{options.out} holds a study of other data, centres or settings: choose another --out")
        if not options.resume:
            raise ConfigError(f"{options.out} already holds this study: --resume goes on with it")
    (options.out / "work").mkdir(parents=True, exist_ok=True)
    record = {"fingerprint": digest, "settings": settings, "develop": options.develop, "validate": options.validate}
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def files_of(files: StudyFiles) -> dict[str, object]:
    """The settings by file."""
    return {name: getattr(files, name) for name in ("study", "classifier", "locator", "outliner", "detector")}


def _segment(
    options: StudyOptions, files: StudyFiles, cohort: Cohort, clock: Clock, show: Show | None
) -> list[FieldCells]:
    """Train locator and outliner on development patients, then outline and match every field."""
    own = cohort.fields(lambda p: p.role == DEVELOP)
    split = tuple(replace(f, split="val" if cohort.patients[patient_key(f)].fold == 0 else "train") for f in own.fields)
    own = replace(own, fields=split)
    work, bundle = options.out / "work", options.out / "bundle"
    with clock("locator"):
        locator = make_locator(files.locator, own, work / "locator", bundle / "locator", show)
    with clock("outliner"):
        outline = make_outline(files.outliner, own, work / "outliner", bundle / "outliner", show)
    with clock("segmentation and contour matching"):
        return segment(
            cohort.dataset, locator, outline, work / "segmented", match_iou=files.study.match_iou, progress=show
        )


def _crops(
    work: Path, cohort: Cohort, cells: Sequence[FieldCells], maker: CropMaker, config: StudyConfig, show: Show | None
) -> tuple[CropSet, CropSet]:
    """Expert crops of development patients and predicted crops of all, stained alike where the study asks for it."""
    own = cohort.fields(lambda p: p.role == DEVELOP)
    paths = work / "expert.npz", work / "predicted.npz"
    if not paths[0].is_file():
        expert = expert_crops(own, maker, cohort.taxonomy, progress=show)
        save_crops(paths[0], measure_morphology(expert) if config.morphology_weight else expert)
    if not paths[1].is_file():
        predicted = predicted_crops(cohort.dataset, cells, maker, cohort.taxonomy, progress=show)
        save_crops(paths[1], measure_morphology(predicted) if config.morphology_weight else predicted)
    return load_crops(paths[0], cohort.taxonomy), load_crops(paths[1], cohort.taxonomy)


def _member(
    config: StudyConfig,
    files: StudyFiles,
    folder: Path,
    fold: int,
    cohort: Cohort,
    expert: CropSet,
    predicted: CropSet,
    show: Show | None,
) -> Member:
    """Train the member that leaves out one fold of the development patients."""
    if config.stain:
        density = stain_of(expert)
        expert, predicted = with_stain(expert, density), with_stain(predicted, density)
    seed = config.seed + fold
    folds = np.array([cohort.patients[g].fold for g in expert.groups])
    expert = cap_classes(expert.subset(folds != fold), config.cells_per_class, seed=seed)
    folds = np.array([cohort.patients[g].fold for g in predicted.groups])
    learnt = cap_classes(predicted.subset((folds >= 0) & (folds != fold)), config.cells_per_class, seed=seed)
    held = cap_classes(predicted.subset(folds == fold), VALIDATION_CELLS, seed=seed)
    network = replace(files.classifier, seed=files.classifier.seed + fold)
    return train_member(config, network, folder, expert=expert, predicted=learnt, validation=held, progress=show)


def stain_of(expert: CropSet) -> tuple[float, float, float]:
    """The median stain density of nuclei over the development centres' expert crops."""
    return median_density(expert.crops)


def _predict(
    config: StudyConfig,
    work: Path,
    cohort: Cohort,
    cells: Sequence[FieldCells],
    predicted: CropSet,
    members: Sequence[Member],
) -> Predictions:
    """Logits of every predicted cell by the members that may call it."""
    stained = predicted
    if config.stain:
        expert = load_crops(work / "expert.npz", cohort.taxonomy)
        stained = with_stain(predicted, stain_of(expert))
    folds = np.array([cohort.patients[g].fold for g in predicted.groups])
    n_classes = len(cohort.taxonomy.names)
    last = np.zeros((len(members), len(predicted), n_classes), np.float32)
    first = np.zeros((len(predicted), n_classes), np.float32)
    for number, member in enumerate(members):
        rows = (folds == number) | (folds < 0)
        last[number, rows] = _logits(work / f"member-{number}" / "last.npy", member.last, stained, rows)
        own = (folds == number) | ((folds < 0) & (number == 0))
        first[own] = _logits(work / f"member-{number}" / "first.npy", member.first, stained, own)
    by_member = [join_probs([z], ()) for z in last]
    ensemble = join_probs(list(last), config.ensemble_weights)
    single = by_member[0].copy()
    for number, probs in enumerate(by_member):
        single[folds == number] = probs[folds == number]
        ensemble[folds == number] = probs[folds == number]
    maker = CropMaker.of(config, stained.crops.shape[1], None)
    scale = crop_scale(predicted, cohort.dataset, maker)
    areas = baselines.nucleus_areas(predicted, areas_um2(cells, cohort.dataset), scale)
    return Predictions(stained, folds >= 0, ensemble, single, join_probs([first], ()), areas)


def _logits(path: Path, run: Path, crops: CropSet, rows: np.ndarray) -> np.ndarray:
    """(M, C) logits of some rows, kept in a file."""
    if not path.is_file():
        partial = path.with_suffix(".part")
        with open(partial, "wb") as file:
            np.save(file, predict_logits(run, crops.crops[rows]))
        partial.replace(path)
    return np.load(path)


def _ablate(
    files: StudyFiles,
    work: Path,
    cohort: Cohort,
    expert: CropSet,
    predicted: CropSet,
    options: StudyOptions,
    clock: Clock,
) -> dict[str, dict]:
    """The first member again without each component: {name: {"config", "probs" (N, C) of rows that it may call}}."""
    if not files.study.ablation:
        return {}
    folds = np.array([cohort.patients[g].fold for g in predicted.groups])
    rows = folds <= 0
    density = stain_of(expert)
    found: dict[str, dict] = {}
    for name, config in component_variants(files.study).items():
        folder = work / ABLATED / name.replace(" ", "-")
        with clock(f"ablation: {name}"):
            member = _member(config, files, folder, 0, cohort, expert, predicted, None)
            shown = with_stain(predicted, density) if config.stain else predicted
            logits = _logits(folder / "last.npy", member.last, shown, rows)
        found[name] = {"rows": rows, "probs": join_probs([logits], ())}
    return found


def _detector(options: StudyOptions, files: StudyFiles, cohort: Cohort, clock: Clock) -> Row:
    """The one-stage baseline, as a row that may fail or be left out without taking the study with it."""
    if files.detector is None:
        return read_row(options.out, DETECTOR)
    train = cohort.fields(lambda p: p.role == DEVELOP and p.fold != 0)
    held = cohort.fields(lambda p: p.role == DEVELOP and p.fold == 0)

    def work(folder: Path, resume: bool) -> dict:
        _, counts = baselines.detector_ratios(
            cohort, files.detector, train, held, folder / "run", composite=files.study.composite, resume=resume
        )
        return {"patients": list(cohort.patients), "counts": counts.tolist()}

    with clock("one-stage detector"):
        digest = fingerprint_of(asdict(files.detector), cohort.dataset.sha256())
        return run_row(options.out, DETECTOR, digest, work, needs=("transformers",), resume=True)


def _export(options: StudyOptions, files: StudyFiles, predictions: Predictions, members: Sequence[Member]) -> None:
    rows = predictions.develop & (predictions.crops.labels >= 0)
    left_out = LeftOut(
        np.log(np.maximum(predictions.ensemble[rows], 1e-9)), predictions.crops.labels[rows], predictions.confusion()
    )
    about = provenance()
    export_classifier(
        members, files.study.ensemble_weights, options.out / "bundle" / "classifier", left_out=left_out,
        validation=predictions.crops.subset(np.flatnonzero(rows)[:64]),
        where={"command": about["command"], "commit": about["commit"]},
    )  # fmt: skip

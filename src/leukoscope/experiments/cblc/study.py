"""The marrow study in one command: segmentation, two-stage members, predictions, baselines, ablation, page and bundle.

Every step leaves its result in OUT and is not run again; `--resume` goes on where a run stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from leukoscope.errors import ConfigError
from leukoscope.experiments.cblc import baselines
from leukoscope.experiments.cblc.bundle import LeftOut, export_classifier
from leukoscope.experiments.cblc.cohort import DEVELOP, Cohort, patient_key, read_cohort
from leukoscope.experiments.cblc.crop_files import load_crops, save_crops
from leukoscope.experiments.cblc.crops import areas_um2, draw_nuclei, expert_crops, predicted_crops, study_rule
from leukoscope.experiments.cblc.members import Member, component_variants, measure_morphology
from leukoscope.experiments.cblc.predictions import Material, Predictions, ablate, make_member, predict_cells
from leukoscope.experiments.cblc.registration import registration_facts
from leukoscope.experiments.cblc.report import write_report
from leukoscope.experiments.cblc.result import ABLATED, DETECTOR, StudyOptions, StudyResult
from leukoscope.experiments.cblc.segment import FieldCells, Outline, segment
from leukoscope.experiments.cblc.segmenters import make_locator, make_outline, make_segmenter
from leukoscope.experiments.cblc.settings import StudyFiles, read_settings
from leukoscope.experiments.preregistration import NAME, differences, register, words
from leukoscope.experiments.provenance import provenance
from leukoscope.experiments.rows import Row, fingerprint_of, read_row, run_row
from leukoscope.files import write_json
from leukoscope.progress import Progress, no_progress
from leukoscope.train.crops.data import CropSet

Say = Callable[[str], None]


def run_study(options: StudyOptions, *, say: Say = print, progress: Progress = no_progress) -> Path:
    """Run what is not done yet, then write tables, figures, page and bundle; returns the page's path.

    Before any number of the validation centres is made, preregistration.json is written; with `register_only` the study
    stops there and its path is returned.
    """
    files = read_settings(options.config)
    cohort = read_cohort(
        options.data, files.study.read_taxonomy(), develop=options.develop, validate=options.validate,
        diagnosis=options.diagnosis, folds=files.study.folds, seed=files.study.seed,
    )  # fmt: skip
    _claim(options, files, cohort)
    clock = Clock(options.out / "work" / "seconds.json", say)
    work = options.out / "work"
    cells, outline = _segment(options, files, cohort, clock, progress)
    with clock("standardised crops"):
        expert, predicted = _crops(work, cohort, cells, outline, files, progress)
    material = Material(cohort, files, expert, predicted, work)
    members = []
    for fold in range(files.study.folds):
        with clock(f"member {fold + 1} of {files.study.folds}: GT to YOLO, YOLO to YOLO"):
            members.append(make_member(files.study, material, work / f"member-{fold}", fold=fold, progress=progress))
    with clock("predictions"):
        predictions = predict_cells(material, members, areas_um2(cells, cohort.dataset))
    with clock("pre-registration"):
        facts = registration_facts(cohort, files, predictions, options.out, members=[m.last for m in members])
        registered = register(options.out, facts)
    if options.register_only:
        return options.out / NAME
    rows, ablation = _ablation(options.out, material, clock)
    rows[DETECTOR] = _detector(options, files, cohort, clock)
    with clock("bundle"):
        _export(options, files, predictions, members)
    apart = differences(registered, facts)
    said = words(registered, apart)
    result = StudyResult(
        options, files, cohort, cells, predictions, ablation, rows, clock.seconds, provenance(), said, apart
    )
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
        write_json(self.path, self.seconds)


def _claim(options: StudyOptions, files: StudyFiles, cohort: Cohort) -> None:
    """Write study.json; ConfigError where OUT holds another study, or this one and --resume was not given."""
    path = options.out / "study.json"
    settings = files.settings()
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
    write_json(path, record)


def _segment(
    options: StudyOptions, files: StudyFiles, cohort: Cohort, clock: Clock, progress: Progress
) -> tuple[list[FieldCells], Outline]:
    """Train what finds and what outlines cells on development patients, then match every field; and the outliner."""
    fields = cohort.fields(lambda p: p.role == DEVELOP)
    split = tuple(
        replace(f, split="val" if cohort.patients[patient_key(f)].fold == 0 else "train") for f in fields.fields
    )
    fields = replace(fields, fields=split)
    work, bundle = options.out / "work", options.out / "bundle"
    if files.segmenter is not None:
        with clock("segmenter"):
            find = make_segmenter(files.segmenter, fields, work / "segmenter", progress)
    else:
        with clock("locator"):
            find = make_locator(files.locator, fields, work / "locator", bundle / "locator", progress)
    with clock("outliner"):
        outline = make_outline(files.outliner, fields, work / "outliner", bundle / "outliner", progress)
    with clock("segmentation and contour matching"):
        match_iou = files.study.match_iou
        return segment(
            cohort.dataset, find, outline, work / "segmented", match_iou=match_iou, progress=progress
        ), outline  # fmt: skip


def _crops(
    work: Path, cohort: Cohort, cells: Sequence[FieldCells], outline: Outline, files: StudyFiles, progress: Progress
) -> tuple[CropSet, CropSet]:
    """Expert crops of development patients and predicted crops of all, measured where the study asks for it.

    The expert drew no nuclei, so N:C of an expert's cell is measured on the nucleus that the outliner draws in it.
    """
    rule, morphology = study_rule(files.study, files.classifier.size), files.study.morphology_weight
    fields = cohort.fields(lambda p: p.role == DEVELOP)
    paths = work / "expert.npz", work / "predicted.npz"
    if not paths[0].is_file():
        nuclei = draw_nuclei(fields, outline, progress=progress) if morphology else None
        expert = expert_crops(fields, rule, cohort.taxonomy, nuclei=nuclei, progress=progress)
        save_crops(paths[0], measure_morphology(expert) if morphology else expert)
    if not paths[1].is_file():
        predicted = predicted_crops(cohort.dataset, cells, rule, cohort.taxonomy, progress=progress)
        learnt = np.array([cohort.patients[g].role == DEVELOP for g in predicted.groups])
        save_crops(paths[1], measure_morphology(predicted, learnt) if morphology else predicted)
    return load_crops(paths[0], cohort.taxonomy), load_crops(paths[1], cohort.taxonomy)


def _ablation(out: Path, material: Material, clock: Clock) -> tuple[dict[str, Row], dict[str, dict]]:
    """The study with a component left out, one row each that may fail without taking the study with it: how each ended,
    and what those that are done say of the cells."""
    rows, calls = {}, {}
    settings = material.files.study
    for name, config in (component_variants(settings) if settings.ablation else {}).items():
        title = name.replace(" ", "-")
        called = partial(ablate, config, material, material.work / ABLATED / title)

        def work(folder: Path, resume: bool, called: Callable[[], dict] = called) -> dict:
            del folder, resume  # a member keeps its weights and logits in the study's own folder, and goes on there
            return {"cells": int(called()["rows"].sum())}

        with clock(f"ablation: {name}"):
            digest = fingerprint_of(asdict(config), material.cohort.dataset.sha256())
            rows[name] = run_row(out, f"{ABLATED}-{title}", digest, work, resume=True)
            if rows[name].is_done:
                calls[name] = called()
    return rows, calls


def _detector(options: StudyOptions, files: StudyFiles, cohort: Cohort, clock: Clock) -> Row:
    """The one-stage baseline, as a row that may fail or be left out without taking the study with it."""
    if files.detector is None:
        return read_row(options.out, DETECTOR)
    train = cohort.fields(lambda p: p.role == DEVELOP and p.fold != 0)
    held = cohort.fields(lambda p: p.role == DEVELOP and p.fold == 0)

    def work(folder: Path, resume: bool) -> dict:
        counts = baselines.detector_counts(cohort, files.detector, train, held, folder / "run", resume=resume)
        return {"patients": list(cohort.patients), "counts": counts.tolist()}

    with clock("one-stage detector"):
        digest = fingerprint_of(asdict(files.detector), cohort.dataset.sha256())
        return run_row(options.out, DETECTOR, digest, work, needs=("transformers",), resume=True)


def _export(options: StudyOptions, files: StudyFiles, predictions: Predictions, members: Sequence[Member]) -> None:
    rows = predictions.develop & (predictions.crops.labels >= 0)
    left_out = LeftOut(
        np.log(np.maximum(predictions.ensemble[rows], 1e-9)), predictions.crops.labels[rows], predictions.confusion(),
        predictions.crops.groups[rows],
    )  # fmt: skip
    about = provenance()
    export_classifier(
        members, files.study.ensemble_weights, options.out / "bundle" / "classifier", left_out=left_out,
        validation=predictions.crops.subset(np.flatnonzero(rows)[:64]),
        where={"command": about["command"], "commit": about["commit"]},
    )  # fmt: skip

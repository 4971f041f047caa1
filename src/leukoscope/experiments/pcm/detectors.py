"""The detector rows (Tables 4 and 5) and the two-stage rows: train, detect, score."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.detection import WBC_OTHER
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluate.boxes import FieldBoxes
from leukoscope.experiments.pcm.boxes import (
    BoxSet,
    best_threshold,
    leave_out_ignored,
    load_boxes,
    one_call_a_place,
    save_boxes,
    score_detections,
    score_end_to_end,
    truth_of,
)
from leukoscope.experiments.pcm.config import RowPlan, StudyConfig
from leukoscope.experiments.pcm.data import DATA, EXTERNAL, StudyData, StudySet
from leukoscope.experiments.pcm.labels import Mapped
from leukoscope.experiments.rows import row_folder
from leukoscope.files import save_arrays
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import Bundle, find_model, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.progress import StageProgress, of_stage
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.config import read_toml

LEAST_SCORE = 0.05  # a box below it is not cut out for the second stage; the tail of AP that this costs is stated


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The fields of one set that are scored together: "val" or "test" of the data, or a whole other set."""

    name: str
    study_set: StudySet
    mapped: Mapped

    @property
    def dataset(self) -> Dataset:
        return self.mapped.dataset


def parts_of(study: StudyData, classes: str) -> list[Part]:
    """Validation and test of the data, then each external set that has something to locate."""
    data = study.data
    parts = []
    for split in ("val", "test"):
        mapped = data.mapped(classes)
        parts.append(Part(split, data, replace(mapped, dataset=mapped.dataset.subset(split))))
    for number, other in enumerate(study.of_role(EXTERNAL), 1):
        if not other.is_single_cells:
            parts.append(Part(f"external-{number}", other, other.mapped(classes)))
    return parts


def detector_names(study: StudyData, classes: str) -> tuple[str, ...]:
    """What a detector row of these classes tells apart."""
    return WBC_OTHER.names if classes == "wbc" else study.taxonomy.names


def run_detector(
    config: StudyConfig, plan: RowPlan, study: StudyData, folder: Path, *, resume: bool, progress: StageProgress
) -> dict:
    """Train one detector on the data's training fields and score it on the data's test fields and the external sets.

    A configuration with task = "bundle" names a model whose locator is taken as it is: nothing is trained.
    """
    if read_toml(config.folder / plan.config).get("task") == "bundle":
        return _run_bundle(config, plan, study, folder, progress)
    from leukoscope.train.detector.config import read_detector_config
    from leukoscope.train.detector.task import detect, train_detector

    settings = read_detector_config(config.folder / plan.config)
    settings = replace(settings, taxonomy=detector_taxonomy(config, plan), leave_out=())
    mapped = study.data.mapped(plan.classes)
    learnt = mapped.without_ignored()
    learnt = replace(learnt, fields=tuple(f for f in learnt.fields if f.split in ("train", "val")))
    run = train_detector(settings, [learnt], folder / "run", resume=resume, progress=of_stage(progress, plan.label))
    names = detector_names(study, plan.classes)
    scored = {}
    for part in parts_of(study, plan.classes):
        detections = detect(run, part.dataset)
        save_arrays(folder / f"{part.name}.npz", **save_boxes(detections))
        scored[part.name] = box_set(part, detections, names)
    result = score_parts(config, study, scored, classes=plan.classes)
    n_left_out = sum(f.split in ("train", "val") and f.file in mapped.ignored for f in mapped.dataset.fields)
    return result | {"names": list(names), "arch": settings.arch, "n_fields_not_learnt": n_left_out}


def _run_bundle(config: StudyConfig, plan: RowPlan, study: StudyData, folder: Path, progress: StageProgress) -> dict:
    """A model's locator in the place of a WBC detector: every box is a white cell's, none is "Other"."""
    path = config.folder / plan.config
    values = read_toml(path)
    if set(values) != {"task", "model"} or plan.classes != "wbc":
        raise ConfigError(f'{path}: a bundle needs `model` and nothing else, and a row with classes = "wbc"')
    bundle = part_of_model(find_model(values["model"]), "locate")
    locator = Session(Bundle(replace(bundle.card, thresholds=bundle.card.thresholds | {"score": 0.01}), bundle.path))
    names, white, scored = detector_names(study, plan.classes), WBC_OTHER.index("white_cell"), {}
    for part in parts_of(study, plan.classes):
        detections = []
        for done, truth in enumerate(part.dataset.fields, 1):
            cells = locate(read_field(part.dataset.path(truth), truth.key, um_per_px=truth.um_per_px), locator)
            detections.append(FieldBoxes(cells.boxes, np.full(len(cells.boxes), white), cells.scores))
            progress(f"{plan.label} {part.name}", done, len(part.dataset.fields))
        save_arrays(folder / f"{part.name}.npz", **save_boxes(detections))
        scored[part.name] = box_set(part, detections, names)
    result = score_parts(config, study, scored, classes=plan.classes)
    return result | {"names": list(names), "arch": bundle.card.name, "n_fields_not_learnt": 0}


def detector_taxonomy(config: StudyConfig, plan: RowPlan) -> str:
    """The taxonomy's name, or the path of its file: what a detector's configuration takes."""
    if plan.classes == "wbc":
        return WBC_OTHER.name
    beside = config.folder / config.taxonomy
    return str(beside) if os.path.isfile(beside) else config.taxonomy


def box_set(part: Part, detections: list[FieldBoxes], names: tuple[str, ...]) -> BoxSet:
    """Truth and detections of one part, detections on cells without a class in the study left out."""
    files = tuple(f.file for f in part.dataset.fields)
    truth = truth_of(part.dataset, names)
    kept = leave_out_ignored(detections, truth, part.mapped.ignored, files)
    return BoxSet(names, files, truth, kept, part.study_set.groups.of(files), part.study_set.groups.unit)


def score_parts(config: StudyConfig, study: StudyData, scored: dict[str, BoxSet], *, classes: str) -> dict:
    """AP and end-to-end numbers of test and the external sets, at the threshold that is best on validation."""
    threshold = best_threshold(scored["val"])
    named = {p.name: p for p in parts_of(study, classes)}
    sets = {}
    for name, boxes in scored.items():
        if name == "val":
            continue
        part = named[name]
        sets[name] = {
            "set": part.study_set.name,
            "role": part.study_set.role,
            **score_detections(boxes),
            "end_to_end": score_end_to_end(boxes, threshold),
            "n_ignored": sum(len(part.mapped.ignored.get(f, ())) for f in boxes.files),
        }
    skipped = [s.name for s in study.of_role(EXTERNAL) if s.is_single_cells]
    return {"threshold": threshold, "sets": sets, "skipped": skipped}


def read_detections(
    config: StudyConfig, out: Path, plan: RowPlan, study: StudyData, classes: str = ""
) -> dict[str, BoxSet]:
    """What a finished detector or two-stage row found, by part, with the truth beside it."""
    classes = classes or ("all" if plan.kind == "two-stage" else plan.classes)
    names = detector_names(study, classes)
    return {
        part.name: box_set(part, _saved(out, plan.name, part), names)
        for part in parts_of(study, classes)
        if (row_folder(out, plan.name) / f"{part.name}.npz").is_file()
    }


def _saved(out: Path, row: str, part: Part) -> list[FieldBoxes]:
    with np.load(row_folder(out, row) / f"{part.name}.npz") as saved:
        return load_boxes(saved, len(part.dataset.fields))


def run_two_stage(
    config: StudyConfig, plan: RowPlan, study: StudyData, folder: Path, *, out: Path, progress: StageProgress
) -> dict:
    """Boxes of a finished WBC detector, cut out with the classifier's context, typed by a finished classifier."""
    from leukoscope.train.crops.predict import box_classifier, load_finetuned

    temperature = float(np.load(row_folder(out, plan.classifier) / "val.npz")["temperature"])
    network, record = load_finetuned(row_folder(out, plan.classifier) / "run")
    classify = box_classifier(network, record, temperature=temperature)
    cells = Taxonomy.from_dict(record["taxonomy"])
    names = study.taxonomy.names
    column = np.array([names.index(n) for n in cells.names])
    other = names.index(study.taxonomy.artefacts[0]) if study.taxonomy.artefacts else None
    scored = {}
    for part in parts_of(study, "all"):
        first = one_call_a_place(_saved(out, plan.detector, part))
        located = []
        for done, (field, boxes) in enumerate(zip(part.dataset.fields, first, strict=True), 1):
            located.append(_typed(part.dataset, field, boxes, classify, column, other))
            progress(f"{plan.label} {part.name}", done, len(first))
        save_arrays(folder / f"{part.name}.npz", **save_boxes(located))
        scored[part.name] = box_set(part, located, names)
    if not scored:
        raise DataError("nothing to type: no field has something to locate")
    return score_parts(config, study, scored, classes="all") | {"names": list(names), "least_score": LEAST_SCORE}


def _typed(dataset: Dataset, field, boxes: FieldBoxes, classify, column: np.ndarray, other: int | None) -> FieldBoxes:
    """A field's boxes with types: score of the box times probability of its type; "Other" boxes stay what they are."""
    white = WBC_OTHER.index("white_cell")
    kept = (boxes.scores >= LEAST_SCORE) & ((boxes.class_ids == white) | (other is not None))
    places, scores, is_white = boxes.boxes[kept], boxes.scores[kept], boxes.class_ids[kept] == white
    ids = np.full(len(places), -1 if other is None else other)
    if is_white.any():
        picture = read_field(dataset.path(field), field.key, um_per_px=field.um_per_px)
        probs = classify(picture, places[is_white])
        ids[is_white] = column[probs.argmax(1)]
        scores = scores.copy()
        scores[is_white] *= probs.max(1)
    return FieldBoxes(places, ids, scores)


__all__ = ["DATA", "Part", "box_set", "parts_of", "read_detections", "run_detector", "run_two_stage"]

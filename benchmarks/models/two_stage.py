"""Found and typed: a locator and a crop classifier together, beside a one-stage detector, on bccd's test photographs.

    python -m benchmarks.models.two_stage [--classifier NAME=BUNDLE]… [--retrain NAME=RUN]… [--one-stage NAME=RUN]…

Five types. A cell counts when it is found (IoU 0.5) and given its type; a missed cell, a wrong type and a box on no
cell all cost (leukoscope.evaluate.two_stage). Photographs with a white cell of unstated type are left out. Score of a
box: the locator's times the probability of the type. F1 counts the boxes above the locator's own threshold; a
one-stage detector's threshold is the one with the best macro-F1 on bccd's val split. "strict": a class outside the
five types is an error; "restricted": the classifier is told that nothing else occurs.
--retrain: a fine-tuning run whose head is trained anew on bccd's train split, backbone as it is, its epoch chosen on
the val split: what a one-stage detector trained on that split is to be compared with.
Stage by stage: found is the locator alone; accuracy on true boxes is the classifier alone.
Writes benchmarks/results/two_stage.csv.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.models.joined_stages import (
    join_stages,
    locate_fields,
    score_typed,
    session_classifier,
    type_boxes,
    typed_fields,
)
from benchmarks.public_sets import import_public, row
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.evaluate.boxes import FieldBoxes
from leukoscope.evaluate.coarse import TYPES, restricted_types, strict_types, type_of
from leukoscope.evaluate.readings import with_limits
from leukoscope.evaluate.two_stage import end_to_end_f1, end_to_end_matrices, keep
from leukoscope.geometry import nms
from leukoscope.models.bundle import Bundle, CropRule, find_model, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import Taxonomy

HEAD_EPOCHS = 30
LOWEST_SCORE = 0.01  # average precision is about the whole ranking
READINGS = {"strict": strict_types, "restricted": restricted_types}


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        dataset = import_public("bccd", args.data, work)
        fields, truth, left_out = typed_fields(dataset.subset("test"), type_of)
        known = {"split": "test", "n_fields": len(fields), "n_cells": sum(len(t.boxes) for t in truth)}
        known |= {"fields_sha256": dataset.sha256()[:12], "fields_left_out": len(left_out)}
        locator = part_of_model(find_model(args.model), "locate")
        threshold = locator.card.thresholds["score"]
        found = locate_fields(Session(_down_to(locator, LOWEST_SCORE)), dataset, fields)
        classifiers = {"bundled": part_of_model(find_model(args.model), "classify")}
        classifiers |= {name: part_of_model(find_model(Path(path)), "classify") for name, path in args.classifier}
        for name, run in args.retrain:
            classifiers[name] = retrain_head(Path(run), dataset, Path(work) / "retrained" / name)
        rows = []
        for name, bundle in classifiers.items():
            system = f"two-stage, bundled locator + {name}"
            rows += score_pair(system, bundle, dataset, fields, truth, found, threshold)
        for name, run in args.one_stage:
            rows += score_detector(f"one-stage, {name}", Path(run), dataset, fields, truth)
    rows = [r | known for r in rows]
    yield from rows
    return {"limits": "95 %, photographs"}


def retrain_head(run: Path, dataset: Dataset, work: Path) -> Bundle:
    """A run's network with its head trained on the typed cells of bccd's train split."""
    from leukoscope.train.crops.bundle import export_finetuned
    from leukoscope.train.crops.data import read_crop_set
    from leukoscope.train.crops.finetune import FinetuneConfig, finetune
    from leukoscope.train.crops.predict import read_run

    record = read_run(run)
    options = {
        "taxonomy": Taxonomy.from_dict(record["taxonomy"]),
        "rule": CropRule(**record["crop"]),
        "white_balance": record["white_balance"],
    }
    train, val = (read_crop_set(dataset, split=split, **options).typed() for split in ("train", "val"))
    config = FinetuneConfig(**record["config"])
    config = replace(config, head_epochs=HEAD_EPOCHS, epochs=0, augment="none", ema=0.0, max_steps=None)
    finetune(config, train, val, work / "run", start_from=run)
    return part_of_model(find_model(export_finetuned(work / "run", work / "bundle", validation=val)), "classify")


def score_pair(
    system: str,
    bundle: Bundle,
    dataset: Dataset,
    fields: list[TruthField],
    truth: list[FieldBoxes],
    found: list[FieldBoxes],
    threshold: float,
) -> list[dict]:
    """Rows of the bundled locator with one classifier, for each reading of the classifier's classes."""
    classifier = Session(bundle)
    probs = type_boxes(dataset, fields, found, session_classifier(classifier))
    of_truth = type_boxes(dataset, fields, truth, session_classifier(classifier))
    files = [f.file for f in fields]
    rows = []
    for reading, read in READINGS.items():
        to_types = partial(read, taxonomy=bundle.card.taxonomy)
        pred = join_stages(found, probs, to_types)
        counted = keep(pred, [f.scores >= threshold for f in found])
        result = score_typed(truth, pred, counted, TYPES, files)
        rows += _rows(system, reading, result)
        right = [to_types(p)[0] == t.class_ids for p, t in zip(of_truth, truth, strict=True)]
        own = np.repeat(np.array(files), [len(r) for r in right])
        right = np.concatenate(right)
        alone = with_limits(lambda drawn, right=right: float(right[drawn].mean()), np.arange(len(right)), own)
        rows.append(_row(system, reading, "accuracy on true boxes", alone))
    return rows


def score_detector(
    system: str, run: Path, dataset: Dataset, fields: list[TruthField], truth: list[FieldBoxes]
) -> list[dict]:
    """Rows of a one-stage detector's run folder, its classes read as the five types."""
    from leukoscope.train.detector.predict import detect, read_detector

    detector = read_detector(run)
    place = np.array([len(TYPES) if type_of(n) is None else type_of(n) for n in detector.taxonomy.names])

    def typed(chosen: list[TruthField]) -> list[FieldBoxes]:
        found = detect(detector, replace(dataset, fields=tuple(chosen)))
        return [FieldBoxes(f.boxes, place[f.class_ids], f.scores) for f in found]

    val_fields, val_truth, _ = typed_fields(dataset.subset("val"), type_of)
    threshold = choose_threshold(val_truth, typed(val_fields))
    pred = typed(fields)
    result = score_typed(truth, pred, count_once(pred, threshold), TYPES, [f.file for f in fields])
    return _rows(system, "strict", result)


def count_once(pred: list[FieldBoxes], threshold: float) -> list[FieldBoxes]:
    """Each cell once, under its best type: a detector may give a box under several."""
    sure = keep(pred, [p.scores >= threshold for p in pred])
    return [keep([p], [nms(p.boxes, p.scores, 0.5)])[0] for p in sure]


def choose_threshold(truth: list[FieldBoxes], pred: list[FieldBoxes]) -> float:
    """The score, in steps of 0.05, with the best macro-F1 of finding and typing."""

    def f1(threshold: float) -> float:
        return end_to_end_f1(end_to_end_matrices(truth, count_once(pred, threshold), n_classes=len(TYPES)).sum(0))

    return max(np.arange(0.05, 1.0, 0.05).round(2).tolist(), key=f1)


def _rows(system: str, reading: str, result: dict) -> list[dict]:
    measures = {
        "map50": "mAP50, found and typed",
        "map50_95": "mAP50-95, found and typed",
        "macro_f1": "macro-F1, found and typed",
        "right": "share of cells found and rightly typed",
        "found": "share of cells found",
    }
    rows = [_row(system, reading, words, result[key]) for key, words in measures.items()]
    for name, of_class in result["classes"].items():
        for key in ("ap50", "f1"):
            entry = {"value": of_class[key], "low": None, "high": None}
            rows.append(_row(system, reading, f"{key} {name}", entry) | {"n_cells_of_type": of_class["n_truth"]})
    return rows


def _row(system: str, reading: str, measure: str, entry: dict) -> dict:
    return row("bccd", measure, entry) | {"system": system, "reading": reading}


def _down_to(bundle: Bundle, score: float) -> Bundle:
    return replace(bundle, card=replace(bundle.card, thresholds={**bundle.card.thresholds, "score": score}))


def _named(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, got {text!r}")
    return name, path


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--model", default="blood", help="whose locator, and the first classifier"),
        option("--classifier", type=_named, action="append", default=[], metavar="NAME=BUNDLE"),
        option("--retrain", type=_named, action="append", default=[], metavar="NAME=RUN"),
        option("--one-stage", type=_named, action="append", default=[], metavar="NAME=RUN"),
    )  # fmt: skip

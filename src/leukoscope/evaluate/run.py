"""`evaluate_model`: a model against annotated fields, with intervals, written as JSON and tables."""

import math
from pathlib import Path

import numpy as np

from leukoscope import __version__
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.attributes import score_words
from leukoscope.evaluate.boxes import pair_boxes
from leukoscope.evaluate.location import score_detection, score_location
from leukoscope.evaluate.patients import METHOD
from leukoscope.evaluate.predict import FieldPrediction, predict_fields
from leukoscope.evaluate.readings import Reading, called_blast, read_probs, score_reading, with_limits
from leukoscope.files import TableWriter, write_json, write_rows, write_whole
from leukoscope.models.bundle import Bundle, Card, find_model
from leukoscope.progress import Progress, no_progress
from leukoscope.quantify import by_patient_for_card
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import is_identified

EVALUATION_VERSION = 2  # 2: limits by leaving out clusters; recall and false boxes of every box
ALL = "all"  # every field, whatever its split


def evaluate_model(
    model: str | Path | dict[str, Bundle],
    dataset: str | Path | Dataset,
    split: str,
    out: str | Path,
    *,
    progress: Progress = no_progress,
) -> dict:
    """Measure a model on one split and write metrics.json, confusion.csv and predictions.csv into folder `out`.

    model    a bundled model's name, a model folder, or the bundles of `find_model`
    dataset  a data set, or its folder
    split    "train", "val", "test", or "all" for every field (sets without splits have only that)
    progress called with (done, total) after each field

    A locator is scored by AP over white cells of any type; a classifier on the true boxes, apart from the
    locator's misses; a pair also end to end; a one-stage detector by AP of each class and end to end. Limits come from
    leaving out patients in turn where the set has two or more, else photographs: "interval" says which. What could
    not be judged is named, never dropped in silence.
    Returns what metrics.json holds; `describe` makes lines of it. DataError when no field could be read.
    """
    bundles = model if isinstance(model, dict) else find_model(model)
    dataset = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    chosen = dataset if split == ALL else dataset.subset(split)
    predictions, failed = predict_fields(bundles, chosen, progress=progress)
    if not predictions:
        raise DataError(f"none of the {len(chosen.fields)} fields of data set {dataset.name!r} could be read")
    unit, clusters = _clusters(predictions)
    n_cells = sum(len(p.boxes) for p in predictions)
    data = {"name": dataset.name, "split": split, "fields_sha256": chosen.sha256(), "n_fields": len(chosen.fields)}
    result = {
        "evaluation_version": EVALUATION_VERSION,
        "leukoscope": __version__,
        "models": {task: {"name": b.card.name, "onnx_sha256": b.card.onnx_sha256} for task, b in bundles.items()},
        "data": data | {"n_cells": n_cells},
        "interval": {"level": 0.95, "method": METHOD, "clusters": unit, "n": len(set(clusters))},
        "failed_fields": failed,
    }
    finder = bundles.get("detect", bundles.get("locate"))
    if finder is not None:
        result["location"] = score_location(predictions, clusters, finder.card)
    readings: list[Reading] = []
    if "classify" in bundles:
        taxonomy = bundles["classify"].card.taxonomy
        readings = _all_readings(predictions, taxonomy)
        result["classification"] = _score_classes(predictions, readings, clusters, taxonomy)
        if (by_patient := _by_patient(predictions, readings, clusters, unit, bundles["classify"].card)) is not None:
            result["classification"]["confusion_by_patient"] = by_patient
        rule = bundles["classify"].card.attributes
        if rule is not None:
            cells = [pair for p in predictions for pair in zip(p.stated, p.words, strict=True)]
            result["words"] = score_words(cells, _of_cells(predictions, clusters), rule)
    if "detect" in bundles:
        taxonomy = finder.card.taxonomy
        result["detection"] = score_detection(predictions, clusters, taxonomy)
    if "detect" in bundles or {"locate", "classify"} <= set(bundles):
        result["end_to_end"] = _score_end_to_end(predictions, clusters, taxonomy)
    result = _plain(result)
    _write(Path(out), result, predictions, bundles)
    return result


def describe(result: dict) -> list[str]:
    """The main numbers of `evaluate_model`, a line each, with their limits."""
    data, lines = result["data"], []
    lines.append(
        f"{data['name']}, split {data['split']}: {data['n_fields']} fields, {data['n_cells']} white cells; "
        f"limits 95 % over {result['interval']['n']} {result['interval']['clusters']}s"
    )
    if result["failed_fields"]:
        lines.append(f"{len(result['failed_fields'])} fields could not be read (listed in metrics.json)")
    for part in ("location", "detection", "end_to_end"):
        for name, entry in result.get(part, {}).items():
            if isinstance(entry, dict) and "value" in entry:
                lines.append(f"{part}: {name} {_show(entry)}")
    for reading, scores in result.get("classification", {}).get("readings", {}).items():
        for name in ("accuracy", "macro_f1", "ece"):
            lines.append(f"{reading}: {name} {_show(scores[name])} over {scores['n_cells']} cells")
        if scores["classes_without_cells"]:
            lines.append(f"{reading}: no cells of {', '.join(scores['classes_without_cells'])} in this data")
        if scores["cells_not_judged"]:
            left_out = ", ".join(f"{n} {name}" for name, n in scores["cells_not_judged"].items())
            lines.append(f"{reading}: not judged: {left_out.replace('None', 'of unstated type')}")
    blast = result.get("classification", {}).get("called_blast")
    if blast and blast["n_normal_cells"]:
        lines.append(f"normal cells called blast: {_show(blast['any'])} of {blast['n_normal_cells']}")
    for name, entry in result.get("words", {}).items():
        said = f"words: {name} said of {entry['n_said']} of {entry['n_stated']} cells that state it"
        lines.append(said + (f", right in {_show(entry['right'])}" if entry["n_said"] else ""))
    return lines


def _show(entry: dict) -> str:
    value, low, high = (entry[k] for k in ("value", "low", "high"))
    if value is None:
        return "not defined here"
    return f"{value:.4f}" + (f" ({low:.4f} to {high:.4f})" if low is not None else "")


def _clusters(predictions: list[FieldPrediction]) -> tuple[str, list[str]]:
    """What varies ("patient" or "photograph") and its name for each field."""
    patients = [p.truth.key.patient_id for p in predictions]
    if all(patients) and len(set(patients)) > 1:
        return "patient", patients
    return "photograph", [p.truth.file for p in predictions]


def _all_readings(predictions: list[FieldPrediction], taxonomy: Taxonomy) -> list[Reading]:
    return read_probs(np.concatenate([p.truth_probs for p in predictions]), _class_names(predictions), taxonomy)


def _of_cells(predictions: list[FieldPrediction], clusters: list[str]) -> np.ndarray:
    """(N,) the cluster of each true cell."""
    return np.repeat(np.asarray(clusters), [len(p.boxes) for p in predictions])


def _class_names(predictions: list[FieldPrediction]) -> list[str | None]:
    return [name for p in predictions for name in p.class_names]


def _score_classes(
    predictions: list[FieldPrediction], readings: list[Reading], clusters: list[str], taxonomy: Taxonomy
) -> dict:
    names = _class_names(predictions)
    of_cell = _of_cells(predictions, clusters)
    probs = np.concatenate([p.truth_probs for p in predictions])
    return {
        "readings": {r.name: score_reading(r, of_cell, names) for r in readings},
        "called_blast": called_blast(probs, names, of_cell, taxonomy) if taxonomy.blasts else None,
    }


def _by_patient(
    predictions: list[FieldPrediction], readings: list[Reading], clusters: list[str], unit: str, card: Card
) -> dict | None:
    """What became of the cells that are labelled with the model's classes, by patient (docs/ratio.md): for a card, or
    for `analyze --own-cells`. Cells below the card's threshold "unidentified" are called nothing. None without any."""
    reading = next((r for r in readings if r.name == "as_labelled"), None)
    if reading is None:
        return None
    probs = np.concatenate([p.truth_probs for p in predictions])[reading.rows]
    known = is_identified(probs, card.thresholds.get("unidentified", 0.0))
    names = card.taxonomy.names
    called = [names[c] if k else None for c, k in zip(probs.argmax(1), known, strict=True)]
    truth = [reading.labels[c] for c in reading.truth]
    patients = _of_cells(predictions, clusters)[reading.rows].tolist()
    return by_patient_for_card(truth, called, patients, card.taxonomy, unit=unit)


def _score_end_to_end(predictions: list[FieldPrediction], clusters: list[str], taxonomy: Taxonomy) -> dict:
    """Located cells above the threshold, matched at IoU 0.5: how many true typed cells came out rightly named."""
    hits, probs, false = [], [], []
    for p in predictions:
        sure = np.isfinite(p.found_probs[:, 0])
        paired = pair_boxes(p.boxes, p.found_boxes[sure], p.scores[sure])  # (D,) rows of the truth
        of_truth = np.zeros((len(p.boxes), len(taxonomy.names)))
        of_truth[paired[paired >= 0]] = p.found_probs[sure][paired >= 0]
        probs.append(of_truth)
        hits.append(np.isin(np.arange(len(p.boxes)), paired))
        counted = np.isin(p.found_probs[sure].argmax(1), taxonomy.columns(taxonomy.counted))
        false.append(int((counted & (paired < 0)).sum()))
    of_cell = np.repeat(np.asarray(clusters), [len(f) for f in hits])
    readings = read_probs(np.concatenate(probs), _class_names(predictions), taxonomy)
    if not readings:
        return {"iou": 0.5, "n_truth": 0}
    main = readings[0]
    found_cells = np.concatenate(hits)[main.rows]
    right_cells = found_cells & (main.truth == main.calls)
    of_cell = of_cell[main.rows]
    cells, fields = np.arange(len(found_cells)), np.arange(len(false))

    def share(values: np.ndarray) -> dict:
        return with_limits(lambda rows: float(values[rows].mean()) if len(rows) else math.nan, cells, of_cell)

    return {
        "iou": 0.5,
        "reading": main.name,
        "n_truth": len(found_cells),
        "found": share(found_cells),
        "found_and_right": share(right_cells),
        "false_counted_per_field": with_limits(
            lambda rows: float(np.mean([false[r] for r in rows])), fields, np.asarray(clusters), within=(0, math.inf)
        ),
    }


def _plain(value):
    """JSON has no NaN: null instead."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write(out: Path, result: dict, predictions: list[FieldPrediction], bundles: dict[str, Bundle]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", result)
    namer = bundles.get("detect", bundles.get("classify"))
    taxonomy = namer.card.taxonomy if namer else None
    with write_whole(out / "predictions.csv", newline="", encoding="utf-8") as file:
        _write_predictions(TableWriter(file), predictions, taxonomy)
    if "classification" in result:
        rows = []
        for name, scores in result["classification"]["readings"].items():
            rows.append(["reading", "truth", *scores["labels"]])
            rows += [[name, label, *row] for label, row in zip(scores["labels"], scores["confusion"], strict=True)]
        write_rows(out / "confusion.csv", rows)


def _write_predictions(table, predictions: list[FieldPrediction], taxonomy: Taxonomy | None) -> None:
    """A row a box: `kind` "truth" (class probabilities on the true box) or "found" (by the locator)."""
    names = taxonomy.names if taxonomy else ()
    fixed = ("file", "patient_id", "kind", "x0", "y0", "x1", "y1", "truth", "score", "called")
    table.writerow([*fixed, *(f"prob_{n}" for n in names)])

    def row(p: FieldPrediction, kind: str, box: np.ndarray, truth: str, score: str, probs: np.ndarray | None) -> list:
        known = probs is not None and np.isfinite(probs[0])
        said = [names[int(probs.argmax())], *(f"{v:.5f}" for v in probs)] if known else [""] * (len(names) + 1)
        return [p.truth.file, p.truth.key.patient_id, kind, *(f"{v:.2f}" for v in box), truth, score, *said]

    for p in predictions:
        for i, box in enumerate(p.boxes):
            probs = None if p.truth_probs is None else p.truth_probs[i]
            table.writerow(row(p, "truth", box, p.class_names[i] or "", "", probs))
        for i, box in enumerate(p.found_boxes if p.found_boxes is not None else ()):
            probs = None if p.found_probs is None else p.found_probs[i]
            table.writerow(row(p, "found", box, "", f"{p.scores[i]:.5f}", probs))

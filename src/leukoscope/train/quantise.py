"""A model in eight bits: its graphs quantised on training pictures, what depends on them measured anew, the loss said.

Weights get seven bits: a processor without VNNI or AMX multiplies pairs of them into sixteen bits, which eight would
overflow, and would then give other calls than the processor that measured the model.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.classify import BATCH
from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.errors import DataError, ImageError, InputError
from leukoscope.evaluate.calibration import expected_calibration_error, fit_temperature
from leukoscope.files import file_digest
from leukoscope.geometry import box_iou
from leukoscope.images import read_field
from leukoscope.locate import default_tile_px, letterbox, locate_balanced, prepare
from leukoscope.models.bundle import Bundle, Card, find_model, write_card
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.quantify.patient import confusion_for_card
from leukoscope.train.classifier.bundle import restain, typed_crops, word_rule
from leukoscope.train.quantise_graph import quantise_graph
from leukoscope.types import Field

PICTURES = 300  # training photographs that set the ranges of activations
MOST_MEASURED = 1000  # validation photographs that the loss is measured on
TIMED = 20  # calls of each graph, in turn, for how much faster one is
QUANTISED = ("locate", "classify")
HOW = (
    "static QDQ; weights of 7 bits a channel, each error made up for by later weights (GPTQ); activations of 8 bits a "
    "tensor, least and greatest values"
)


@dataclass(frozen=True, slots=True)
class Loss:
    """What eight bits cost one part: measures before and after, by name, and how many times as fast its calls are."""

    task: str
    before: dict[str, float]
    after: dict[str, float]
    times_as_fast: float

    def words(self) -> str:
        """One line for people and cards."""
        changes = ", ".join(f"{name} {self.before[name]:.4f} to {value:.4f}" for name, value in self.after.items())
        return f"{changes}; calls {self.times_as_fast:.2f} times as fast on the processor that measured it"


def quantise_model(
    model: str | Path,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    only: Sequence[str] = QUANTISED,
    pictures: int = PICTURES,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Loss]:
    """Write `model` with its locator and classifier in eight bits into the new folder `out`; the loss of each part.

    model  a bundled model's name, or a model folder
    data   data sets with splits: ranges of activations are set on fields of split "train", and on those of "val" the
           temperature, the confusion matrix and the words are measured anew, and the loss
    only   which parts, of "locate" and "classify"; the others stay as they are
    pictures  training photographs, spread evenly; fewer take less time
    An outliner is copied as it is. InputError where `out` holds something, the data have no such splits or the model
    is a one-stage detector; nothing is written then.
    """
    out, models = Path(out), find_model(model)
    parts = {task: bundle for task, bundle in models.items() if task in QUANTISED and task in only}
    if not parts:
        have, wanted = ", ".join(models), " and ".join(only)
        raise InputError(f"only locators and classifiers are quantised, and the model has: {have} (asked: {wanted})")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something already: give the path of a new folder")
    sets = [read_dataset(d) for d in data]
    training, validation = _split(sets, "train", pictures), _split(sets, "val", MOST_MEASURED)
    whole = len(models) == 1
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        losses = {}
        for task, bundle in models.items():
            folder = partial if whole else partial / bundle.path.name
            shutil.copytree(bundle.path, folder)
            if task in parts:
                say(f"{bundle.card.name}: quantising on {sum(len(d.fields) for d in training)} photographs")
                make = _locator if task == "locate" else _classifier
                losses[task] = make(bundle, folder, training, validation)
                say(f"{bundle.card.name}: {losses[task].words()}")
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return losses


def _split(sets: Sequence[Dataset], split: str, most: int) -> list[Dataset]:
    """The fields of a split, `most` of all sets together, spread evenly; InputError where none has any."""
    chosen = [replace(d, fields=tuple(f for f in d.fields if f.split == split)) for d in sets]
    n = sum(len(d.fields) for d in chosen)
    if not n:
        names = ", ".join(d.name for d in sets)
        raise InputError(
            f"no photograph of {names} is in split {split!r}: train and val are needed (`leukoscope dataset split`)"
        )
    step = max(1, -(-n // most))
    return [replace(d, fields=d.fields[::step]) for d in chosen if d.fields]


def _locator(bundle: Bundle, folder: Path, training: list[Dataset], validation: list[Dataset]) -> Loss:
    """Quantise a locator into `folder` and write its card."""
    old = Session(bundle)
    size, step = bundle.card.input_size, old.side_step
    shown = [letterbox(v.pixels, size, step=step)[0][None] for v in _views(training, bundle)]
    if not shown:
        raise DataError("no training photograph can be read: nothing to set the ranges of activations on")
    left = quantise_graph(bundle.onnx, folder / "model.onnx", [{"pixels": canvas} for canvas in shown])
    new = _with_graph(bundle, folder, training, left)
    sessions = old, Session(new)
    same, overlaps, counts = [], [], [0, 0]
    for view in _views(validation, bundle):
        first, second = (locate_balanced(view, s, tile_px=default_tile_px(s.card)) for s in sessions)
        same.append(len(first) == len(second))
        counts[0], counts[1] = counts[0] + len(first), counts[1] + len(second)
        if len(first) and len(second):
            overlaps += box_iou(first.boxes, second.boxes).max(1).tolist()
    before = {"fields with as many cells": 1.0, "overlap of their boxes": 1.0, "cells found": float(counts[0])}
    after = {
        "fields with as many cells": float(np.mean(same)),
        "overlap of their boxes": float(np.mean(overlaps)) if overlaps else 1.0,
        "cells found": float(counts[1]),
    }
    faster = times_as_fast(sessions, [{"pixels": canvas} for canvas in shown[:TIMED]])
    loss = Loss("locate", before, after, faster)
    _write(new, loss, validation)
    return loss


def _classifier(bundle: Bundle, folder: Path, training: list[Dataset], validation: list[Dataset]) -> Loss:
    """Quantise a classifier into `folder`, measure anew what depends on its numbers, and write its card."""
    card, density = bundle.card, bundle.card.crop.nucleus_density
    crops, diameters, _ = typed_crops(training, card)
    some = np.linspace(0, len(crops) - 1, min(PICTURES, len(crops))).astype(int)
    old = Session(bundle)
    calls = [_inputs(old, match_nuclei(crops[i : i + 1], density), diameters[i : i + 1]) for i in some]
    left = quantise_graph(bundle.onnx, folder / "model.onnx", calls)
    new = _with_graph(bundle, folder, training, left)
    sessions = old, Session(new)
    crops, diameters, truth = typed_crops(validation, card)
    # Half as they are, half restained, as when the temperature was first chosen.
    views = [match_nuclei(shown, density) for shown in (crops, restain(crops, seed=0))]
    logits = [[_logits(s, view, diameters) for view in views] for s in sessions]
    fitted = [fit_temperature(np.concatenate(pair), np.concatenate([truth, truth])) for pair in logits]
    # What was chosen by hand (a card's own temperature) stays: it changes as the one that fits does.
    new_card = replace(new.card, temperature=round(card.temperature * fitted[1] / fitted[0], 4))
    probs = [softmax(pair[0] / c.temperature) for pair, c in zip(logits, (card, new_card), strict=True)]
    config = card.training.get("config", {})
    if _are_described(validation, new_card):
        rule = word_rule(Session(Bundle(new_card, folder)), validation, new_card, {"seed": 0} | config)
        new_card = replace(new_card, attributes=rule)
    kinds = card.taxonomy.names
    laboratories = [d.name for d in validation for f in d.fields for c in f.cells if c.class_name in kinds]
    settings = {"patients": laboratories, "unit": "laboratory", "least_prob": card.thresholds.get("unidentified", 0.0)}
    new_card = replace(new_card, **confusion_for_card(truth, probs[1], card.taxonomy, **settings))
    measured = [_of_calls(p, truth, probs[0]) for p in probs]
    loss = Loss("classify", *measured, times_as_fast(sessions, calls[:TIMED]))
    _write(Bundle(new_card, folder), loss, validation)
    return loss


def _are_described(sets: list[Dataset], card: Card) -> bool:
    """Whether any cell of a class of the model states an attribute that the model says words of."""
    if card.attributes is None:
        return False
    names, kinds = {a.name for a in card.attributes.attributes.attributes}, card.taxonomy.names
    cells = (c for d in sets for f in d.fields for c in f.cells if c.class_name in kinds)
    return any(name in names for c in cells for name, _value in c.attributes)


def _inputs(session: Session, crops: np.ndarray, diameters: np.ndarray) -> dict[str, np.ndarray]:
    given = {"pixels": crops, "diameter_um": diameters}
    return {name: given[name] for name in given if name in session.inputs}


def _logits(session: Session, crops: np.ndarray, diameters: np.ndarray) -> np.ndarray:
    """(N, C) of crops (N, S, S, 3), sixteen at a time."""
    parts = [slice(i, i + BATCH) for i in range(0, len(crops), BATCH)]
    return np.concatenate([session.run(**_inputs(session, crops[p], diameters[p]))[0] for p in parts])


def _of_calls(probs: np.ndarray, truth: np.ndarray, first: np.ndarray) -> dict[str, float]:
    right = probs.argmax(1) == truth
    return {
        "accuracy": float(right.mean()),
        "ECE": expected_calibration_error(probs.max(1), right),
        "same call": float((probs.argmax(1) == first.argmax(1)).mean()),
    }


def _views(sets: list[Dataset], bundle: Bundle) -> list[Field]:
    """The fields as the model wants them; those that can't be read are left out."""
    fields: list[tuple[Dataset, TruthField]] = [(d, f) for d in sets for f in d.fields]
    views = []
    for dataset, field in fields:
        try:
            views.append(prepare(read_field(dataset.path(field), field.key), bundle.card))
        except ImageError:
            continue
    return views


def _with_graph(bundle: Bundle, folder: Path, training: list[Dataset], left: list[str]) -> Bundle:
    """The bundle with the graph that stands in `folder` now."""
    import onnxruntime

    card = bundle.card
    said = {
        "from": {"name": card.name, "onnx_sha256": card.onnx_sha256},
        "calibrated_on": [{"name": d.name, "sha256": d.sha256(), "n_fields": len(d.fields)} for d in training],
        "how": HOW,
        "left_in_float": left,
        "onnxruntime": onnxruntime.__version__,
    }
    digest = file_digest(folder / "model.onnx")
    new = replace(card, name=f"{card.name}-int8", onnx_sha256=digest, training=card.training | {"quantised": said})
    return Bundle(new, folder)


def _write(bundle: Bundle, loss: Loss, validation: list[Dataset]) -> None:
    """The card, with the loss; results of the model before are not its own."""
    card = bundle.card
    measured = [{"name": d.name, "sha256": d.sha256(), "n_fields": len(d.fields)} for d in validation]
    entry = {"before": loss.before, "after": loss.after, "times_as_fast": round(loss.times_as_fast, 2)}
    training = card.training | {"quantised": card.training["quantised"] | {"loss": entry, "measured_on": measured}}
    names = ", ".join(d.name for d in validation)
    limit = f"Quantised to eight bits; the cost on validation photographs of {names}: {loss.words()}."
    write_card(replace(card, training=training, results=(), limits=(*card.limits, limit)), bundle.path / "card.json")


def times_as_fast(sessions: tuple[Session, Session], calls: list[dict[str, np.ndarray]]) -> float:
    """How many times as fast the second session's calls are: the median of the ratios of processor time, in turn."""
    ratios = []
    for call in calls:
        spent = []
        for session in sessions:
            start = time.thread_time()
            session.run(**call)
            spent.append(time.thread_time() - start)
        ratios.append(spent[0] / max(spent[1], 1e-6))
    return statistics.median(ratios) if ratios else 1.0

"""What eight bits cost: a model and the same model by `leukoscope models quantise`, on the same cells and fields.

    python -m benchmarks.models.quantised [--model blood] [--data FOLDER] [--keep FOLDER]

Quantised on training photographs of pbc and bccd, temperature and confusion matrix measured anew on their validation
photographs. Compared on pbc's test split (ten subtypes) and on the development sets bccd, jtsc and cellavision (five
types, strict): accuracy and calibration; on all 364 photographs of bccd: how many cells are found; and how much
processor time the calls take, in turn. Then without the processor's own integer kernels (every number quantised and
multiplied as a float): whether the calls are the same. --out keeps the quantised model.
Writes benchmarks/results/quantised.csv.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate import evaluate_model
from leukoscope.images import list_images, read_field
from leukoscope.locate import letterbox, locate_balanced, prepare
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.models.runtime import Session
from leukoscope.train.quantise import PICTURES, quantise_model
from leukoscope.types import FieldKey

READINGS = {"pbc": "as_labelled", "bccd": "five_types_strict", "jtsc": "five_types_strict",
            "cellavision": "five_types_strict"}  # fmt: skip
LOCATED = {"bccd": "test", "pbc": "test", "draaslan": "all"}
KEY = FieldKey("f", "s", "p", "bccd", "blood")
MOST_LOST, LEAST_SAME, MOST_ECE, LEAST_FASTER = 0.005, 0.99, 0.01, 1.5
EMULATED = 24  # photographs on which calls without integer kernels are compared


def main(args: Args) -> Rows:
    files = list_images(args.data / "bccd" / "JPEGImages")[: args.limit]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sets = {name: import_public(name, args.data, work) for name in READINGS}
        new, only = Path(args.keep or work / "int8"), args.only or ["locate", "classify"]
        learnt = [work / "pbc", work / "bccd"]
        losses = quantise_model(args.model, learnt, new, only=only, pictures=args.pictures, say=print)
        models = find_model(args.model), find_model(new)
        rows = [
            row(f"{task}, calls", "times as fast, processor time", loss.times_as_fast, least=LEAST_FASTER)
            for task, loss in losses.items()
        ]
        if "classify" in only:
            for name, dataset in sets.items():
                rows += calls(name, dataset, models, work)
        if "locate" in only:
            rows += counts(files, models)
            for name, split in LOCATED.items():
                rows += precision(import_public(name, args.data, work), split, models, work, most=args.most_fields)
        rows += emulated(files[:EMULATED], models)
    digests = {f"{task}_onnx_sha256": b.card.onnx_sha256[:12] for task, b in models[0].items()}
    yield from rows
    return {"n_photographs": len(files), **digests}


def counts(files: list[Path], models: tuple[dict, dict]) -> list[dict]:
    """Fields of bccd in which both locators find as many cells."""
    sessions = [Session(m["locate"]) for m in models]
    found = []
    for file in files:
        view = prepare(read_field(file, KEY), models[0]["locate"].card)
        found.append([len(locate_balanced(view, s, tile_px=640)) for s in sessions])
    found = np.array(found)
    same = float((found[:, 0] == found[:, 1]).mean())
    total = {"before": int(found[:, 0].sum()), "after": int(found[:, 1].sum())}
    return [row(f"bccd, {len(files)} fields", "share with as many cells", same, least=LEAST_SAME) | total]


def precision(dataset: Dataset, split: str, models: tuple[dict, dict], work: Path, *, most: int) -> list[dict]:
    """AP50-95 of both locators on one set, at most so many of its fields, spread evenly."""
    fields = [f for f in dataset.fields if split in ("all", f.split)]
    fields = fields[:: max(1, len(fields) // most)][:most]
    dataset = replace(dataset, fields=tuple(fields))
    found = [
        evaluate_model({"locate": model["locate"]}, dataset, split, work / f"at-{dataset.name}-{number}")["location"]
        for number, model in enumerate(models)
    ]
    before, after = (f["ap50_95"]["value"] for f in found)
    line = row(f"{dataset.name}, {split}, {len(fields)} fields", "AP50-95 lost", before - after, most=MOST_LOST)
    return [line | {"before": round(before, 4), "after": round(after, 4)}]


def emulated(files: list[Path], models: tuple[dict, dict]) -> list[dict]:
    """The quantised graphs on the processor's kernels and without them: cells found, boxes, calls."""
    bundles = models[1]
    fast = {task: Session(bundle) for task, bundle in bundles.items()}
    slow = {task: _without_kernels(bundle) for task, bundle in bundles.items()}
    same, apart, called, moved = [], [], [], []
    for file in files:
        view = prepare(read_field(file, KEY), bundles["locate"].card)
        first, second = (locate_balanced(view, s["locate"], tile_px=640) for s in (fast, slow))
        same.append(len(first) == len(second))
        if len(first) == len(second) and len(first):
            apart.append(float(np.abs(first.boxes - second.boxes).max()))
        canvas = letterbox(view.pixels, bundles["classify"].card.input_size)[0][None]
        logits = [s["classify"].run(**_given(s["classify"], canvas))[0] for s in (fast, slow)]
        called.append(logits[0].argmax() == logits[1].argmax())
        moved.append(float(np.abs(logits[0] - logits[1]).max()))
    name = f"bccd, {len(files)} fields, without integer kernels"
    return [
        row(name, "share with as many cells", float(np.mean(same))),
        row(name, "px that a box moves, at most", max(apart, default=0.0)),
        row(name, "share of whole fields with the same call of the classifier", float(np.mean(called))),
        row(name, "logit that moves, at most", max(moved)),
    ]


def _given(session: Session, canvas: np.ndarray) -> dict[str, np.ndarray]:
    given = {"pixels": canvas, "diameter_um": np.zeros(1, np.float32)}
    return {name: given[name] for name in given if name in session.inputs}


def _without_kernels(bundle: Bundle) -> Session:
    """A session that fuses nothing: each QuantizeLinear and DequantizeLinear is done as it is written."""
    session, options = Session(bundle), ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session._session = ort.InferenceSession(str(bundle.onnx), options, providers=["CPUExecutionProvider"])
    return session


def calls(name: str, dataset: Dataset, models: tuple[dict, dict], work: Path) -> list[dict]:
    """Accuracy and calibration of both classifiers on one set's true boxes."""
    split = "test" if name == "pbc" else "all"
    measured = []
    for number, model in enumerate(models):
        result = evaluate_model({"classify": model["classify"]}, dataset, split, work / f"{name}-{number}")
        measured.append(result["classification"]["readings"][READINGS[name]])
    rows = []
    for measure, most in (("accuracy", None), ("ece", MOST_ECE)):
        before, after = (m[measure]["value"] for m in measured)
        lost = before - after if measure == "accuracy" else after - before
        kind = "accuracy lost" if measure == "accuracy" else "ECE gained"
        line = row(f"{name}, {split}", kind, lost, most=MOST_LOST if most is None else most)
        rows.append(line | {"before": round(before, 4), "after": round(after, 4)})
    return rows


def row(name: str, measure: str, value: float, *, least: float | None = None, most: float | None = None) -> dict:
    threshold = f">= {least}" if least is not None else f"<= {most}" if most is not None else ""
    met = (least is None or value >= least) and (most is None or value <= most)
    verdict = ("yes" if met else "no") if threshold else ""
    print(name, measure, round(value, 4), threshold, verdict, sep="\t", flush=True)
    return {"set": name, "measure": measure, "value": round(value, 4), "before": "", "after": "",
            "threshold": threshold, "met": verdict}  # fmt: skip


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL,
        option("--pictures", type=int, default=PICTURES, help="training photographs that set the ranges"),
        option("--limit", type=int, help="count cells in the first N photographs of bccd only"),
        option("--only", action="append", choices=("locate", "classify"), help="this part alone"),
        option("--most-fields", type=int, default=300, help="of a set that AP is measured on"),
        option("--keep", help="keep the quantised model here (a new folder)"),
    )  # fmt: skip

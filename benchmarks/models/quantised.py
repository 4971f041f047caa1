"""What eight bits cost: a model and the same model in eight bits, on the same cells and fields.

    python -m benchmarks.models.quantised [--model blood] [--int8 blood-int8] [--data FOLDER] [--keep FOLDER]

Parts that --int8 names are measured as they are (the bundled locator in eight bits); the others are quantised first, on
training photographs of pbc and bccd, with temperature and confusion matrix measured anew on their validation
photographs. Compared on pbc's test split (ten subtypes) and on the development sets bccd, jtsc and cellavision (five
types, strict): accuracy and calibration; on pbc test, bccd test and draaslan: AP50-95; on all 364 photographs of bccd:
how many cells are found; and how much processor time the calls take, in turn.
Then on another processor: a whole emulated one without VNNI and AMX (qemu-x86_64 -cpu Haswell, Debian's qemu-user;
ONNX Runtime picks its kernels for AVX2 there), or, where qemu is not installed, without any integer kernel (each number
quantised and multiplied as a float): whether the calls are the same. --keep keeps what was quantised.
Writes benchmarks/results/quantised_locate.csv and quantised_classify.csv: with --only the other stays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate import evaluate_model
from leukoscope.geometry import box_iou
from leukoscope.images import list_images, read_field
from leukoscope.locate import letterbox, locate_balanced, prepare
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.models.runtime import OUTPUTS, Session
from leukoscope.train.quantise import PICTURES, TIMED, quantise_model, times_as_fast
from leukoscope.types import FieldKey

READINGS = {"pbc": "as_labelled", "bccd": "five_types_strict", "jtsc": "five_types_strict",
            "cellavision": "five_types_strict"}  # fmt: skip
LOCATED = {"bccd": "test", "pbc": "test", "draaslan": "all"}
KEY = FieldKey("f", "s", "p", "bccd", "blood")
MOST_LOST, LEAST_SAME, MOST_ECE, LEAST_FASTER = 0.005, 0.99, 0.01, 1.5
LEAST_OVERLAP = 0.98  # of boxes here and on another processor
EMULATED = 24  # photographs on which calls here and on another processor are compared
EMULATOR = ("qemu-x86_64", "-cpu", "Haswell")
# Run by the emulated processor: ONNX Runtime and numpy alone, for everything takes thirty times as long there.
ELSEWHERE = """
import sys
import numpy as np
import onnxruntime as ort
graph, file, *names = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
shown = dict(np.load(file))
calls = 1 + max(int(key.split()[1]) for key in shown)
inputs = [i.name for i in session.get_inputs()]
found = [session.run(names, {name: shown[f"{name} {i}"] for name in inputs}) for i in range(calls)]
np.savez(file, **{f"{name} {i}": value for i, one in enumerate(found) for name, value in zip(names, one)})
"""


def main(args: Args) -> Rows:
    files = list_images(args.data / "bccd" / "JPEGImages")[: args.limit]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sets = {name: import_public(name, args.data, work) for name in READINGS}
        only = args.only or ["locate", "classify"]
        before = {task: bundle for task, bundle in find_model(args.model).items() if task in only}
        models = before, in_eight_bits(args, only, work)
        for task in only:
            digests = [model[task].card.onnx_sha256[:12] for model in models]
            known = dict(zip(("onnx_sha256", "int8_sha256"), digests, strict=True))
            for line in part_rows(task, models, sets, files, args=args, work=work):
                print(line, flush=True)
                yield f"quantised_{task}", line | known
    return {"n_photographs": len(files)}


def part_rows(
    task: str, models: tuple[dict, dict], sets: dict[str, Dataset], files: list[Path], *, args: Args, work: Path
) -> Iterator[dict]:
    """The rows of one part."""
    yield faster(task, models, files)
    if task == "classify":
        for name, dataset in sets.items():
            yield from calls(name, dataset, models, work)
    else:
        yield from counts(files, models)
        for name, split in LOCATED.items():
            dataset = import_public(name, args.data, work)
            yield from precision(dataset, split, models, work, most=args.most_fields)
    yield from elsewhere(files[:EMULATED], {task: models[1][task]}, work)


def in_eight_bits(args: Args, only: list[str], work: Path) -> dict[str, Bundle]:
    """The parts in eight bits: those of --int8, the others quantised now."""
    ready = {task: bundle for task, bundle in (find_model(args.int8) if args.int8 else {}).items() if task in only}
    missing = [task for task in only if task not in ready]
    if not missing:
        return ready
    new, learnt = Path(args.keep or work / "int8"), [work / "pbc", work / "bccd"]
    quantise_model(args.model, learnt, new, only=missing, pictures=args.pictures, say=print)
    return ready | {task: bundle for task, bundle in find_model(new).items() if task in missing}


def faster(task: str, models: tuple[dict, dict], files: list[Path]) -> dict:
    """How many times as fast the calls of one part in eight bits are, on whole fields."""
    sessions = Session(models[0][task]), Session(models[1][task])
    shown = [given(sessions[0], canvas_of(file, sessions[0])) for file in files[:TIMED]]
    value = times_as_fast(sessions, shown)
    return row(f"{task}, calls", "times as fast, processor time", value, least=LEAST_FASTER)


def canvas_of(file: Path, session: Session) -> np.ndarray:
    """A field (1, H, W, 3) as the model's input."""
    view = prepare(read_field(file, KEY), session.card)
    return letterbox(view.pixels, session.card.input_size, step=session.side_step)[0][None]


def given(session: Session, canvas: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of one call."""
    values = {"pixels": canvas, "diameter_um": np.zeros(len(canvas), np.float32)}
    return {name: values[name] for name in values if name in session.inputs}


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


def elsewhere(files: list[Path], bundles: dict[str, Bundle], work: Path) -> list[dict]:
    """The graphs in eight bits here and on another processor: cells found, boxes, calls."""
    where = "a processor without VNNI and AMX" if shutil.which(EMULATOR[0]) else "no integer kernels"
    rows, name = [], f"bccd, {len(files)} fields, {where}"
    for task, bundle in bundles.items():
        session = Session(bundle)
        shown = [given(session, canvas_of(file, session)) for file in files]
        here = [session.run(**one) for one in shown]
        there = on_another_processor(bundle, shown, work / f"{task}.npz")
        if task == "classify":
            logits = np.array([(a[0], b[0]) for (a, *_), (b, *_) in zip(here, there, strict=True)])
            same = (logits[:, 0].argmax(1) == logits[:, 1].argmax(1)).mean()
            rows.append(row(name, "share of whole fields with the same call of the classifier", float(same)))
            rows.append(row(name, "logit that moves, at most", float(np.abs(logits[:, 0] - logits[:, 1]).max())))
            continue
        kept = [[boxes[scores.reshape(-1) >= bundle.card.thresholds["score"]] for boxes, scores in found]
                for found in (here, there)]  # fmt: skip
        overlaps = [box_iou(a, b).max(1).mean() for a, b in zip(*kept, strict=True) if len(a) and len(b)]
        same = [len(a) == len(b) for a, b in zip(*kept, strict=True)]
        rows.append(row(name, "share with as many boxes", float(np.mean(same)), least=LEAST_SAME))
        rows.append(row(name, "overlap of their boxes", float(np.mean(overlaps)), least=LEAST_OVERLAP))
    return rows


def on_another_processor(bundle: Bundle, shown: list[dict], file: Path) -> list[list[np.ndarray]]:
    """The outputs of each call on the emulated processor, or with nothing fused where there is no emulator."""
    if not shutil.which(EMULATOR[0]):
        session, options = Session(bundle), ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session._session = ort.InferenceSession(str(bundle.onnx), options, providers=["CPUExecutionProvider"])
        return [session.run(**one) for one in shown]
    np.savez(file, **{f"{name} {i}": value for i, one in enumerate(shown) for name, value in one.items()})
    outputs = OUTPUTS[bundle.card.task]
    command = [*EMULATOR, sys.executable, "-c", ELSEWHERE, str(bundle.onnx), str(file), *outputs]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with np.load(file) as found:
        return [[found[f"{name} {i}"] for name in outputs] for i in range(len(shown))]


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
    return {"set": name, "measure": measure, "value": round(value, 4), "before": "", "after": "",
            "threshold": threshold, "met": verdict}  # fmt: skip


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL,
        option("--int8", default="blood-int8", help="model whose parts in eight bits are measured as they are"),
        option("--pictures", type=int, default=PICTURES, help="training photographs that set the ranges"),
        option("--limit", type=int, help="count cells in the first N photographs of bccd only"),
        option("--only", action="append", choices=("locate", "classify"), help="this part alone"),
        option("--most-fields", type=int, default=300, help="of a set that AP is measured on"),
        option("--keep", help="keep the quantised model here (a new folder)"),
    )  # fmt: skip

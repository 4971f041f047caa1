"""The bundled classifier on other laboratories: as it is, with a profile without labels, with 30 cells labelled.

    python -m benchmarks.sites.new_laboratories --data DATA [--model blood] [--draws 10] [--dry-run]

DATA: folders that benchmarks/sites/laboratories.py made. Every set is shown to the model once, as analysis crops cells
of true boxes; the rest is arithmetic on what its last layer hears. Development sets (benchmarks/sites/sets.toml) were
looked at while recipes were chosen; validation fields of `raabin` and `lmu`, and `pbc`'s test split, are of
laboratories that it was trained on. Writes benchmarks/results/new_laboratories.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.harness import MODEL, Args, Rows, benchmark, option
from benchmarks.sites.laboratories import read_roles
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.evaluate.calibration import expected_calibration_error
from leukoscope.evaluate.classes import confusion_matrix, macro_f1, roc_auc
from leukoscope.evaluate.coarse import TYPES, restricted_types, strict_types, type_of
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import WBC_11
from leukoscope.train.adapt.cells import read_site_cells
from leukoscope.train.adapt.heads import with_one
from leukoscope.train.adapt.neighbours import lean_on_neighbours
from leukoscope.train.adapt.network import read_network
from leukoscope.train.adapt.profile import Reference, fit_profile, read_reference
from leukoscope.train.adapt.site import allowed_classes, choose_start, what_was_learnt
from leukoscope.train.adapt.site_head import fit_site_layer, old_weights, sharpness
from leukoscope.train.classifier.bundle import run_named
from leukoscope.train.classifier.data import WINDOW_PAD, load_cells
from leukoscope.train.classifier.made_cells import make_cells

NEW = {"bccd": (0.84, 0.87, 0.90), "jtsc": (0.80, 0.87, 0.93), "cellavision": (0.76, 0.82, 0.88)}
ECE = (0.08, 0.05)
LABELLED = 30
NORMAL = ("bccd", "jtsc", "cellavision", "bionet", "raabin", "pbc")
BLASTS = ("blast", "lymphoblast", "myeloblast", "monoblast")
NOT_NORMAL = (*BLASTS, "smudge_cell", "artefact", "promonocyte")


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A set's cells: class names (N,), what the last layer hears (N, F), photographs (N,), and by what its answer is
    multiplied (N, 1)."""

    name: str
    classes: np.ndarray
    heard: np.ndarray
    files: np.ndarray
    sharpness: np.ndarray

    def probs(self, layer: np.ndarray, temperature: float, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(n, C) of some rows, as a bundle with this last layer (F + 1, C) says them."""
        return softmax(with_one(self.heard[rows]) @ layer * self.sharpness[rows], temperature)


def main(args: Args) -> Rows:
    bundle = find_model(args.model)["classify"]
    session, taxonomy = Session(bundle), bundle.card.taxonomy
    layer, reference = old_weights(read_network(bundle)), read_reference(bundle.path)
    sets = {name: hear(session, bundle, chosen(args.data, name)) for name in (*NORMAL, "lmu", "lmu15")}
    smudges = made_smudges(session, bundle, args.data)
    rows = []
    for name in NEW:
        rows += new_site(sets[name], layer, reference, bundle, draws=args.draws)
    rows += home(sets["raabin"], sets["pbc"], layer, bundle)
    rows += blasts(sets, smudges, layer, bundle)
    rows += fifteen(sets["lmu15"], layer, bundle)
    yield from rows
    return {"onnx_sha256": bundle.card.onnx_sha256[:12], "classes": len(taxonomy.names)}


def chosen(data: Path, name: str) -> Dataset:
    """A development set whole, a training set's fields that training never saw."""
    dataset = read_dataset(data / name)
    held = "test" if name == "pbc" else "val"
    if read_roles()[name]["role"] == "train":
        dataset = dataset.subset(held)
    kept = tuple(f for f in dataset.fields if any(c.class_name for c in f.cells))
    return replace(dataset, fields=kept)


def hear(session: Session, bundle: Bundle, dataset: Dataset) -> Heard:
    """Show the model every typed white cell of a data set."""
    rule = replace(bundle.card.crop, nucleus_density=None)
    cells = read_site_cells(dataset, rule, taxonomy=bundle.card.taxonomy)
    typed = np.flatnonzero(cells.class_names != "") if dataset.name != "bionet" else np.arange(len(cells))
    outputs = run_named(session, cells.crops[typed], cells.extras["diameter_um"][typed])
    return of_features(bundle, dataset.name, cells.class_names[typed], outputs["features"], cells.files[typed])


def of_features(bundle: Bundle, name: str, classes: np.ndarray, heard: np.ndarray, files: np.ndarray) -> Heard:
    return Heard(name, classes, heard, files, sharpness(read_network(bundle), heard))


def made_smudges(session: Session, bundle: Bundle, data: Path, n: int = 60) -> list[Heard]:
    """Smudges made of pbc test cells, and drawn, by seeds that training had not."""
    dataset = read_dataset(data / "pbc").subset("test")
    dataset = replace(dataset, fields=dataset.fields[::6])
    store = load_cells([dataset], um_per_px={}, seed=9, attributes=WBC_11)
    out = []
    for name, numbers in {"destroyed": (n, 0), "drawn": (0, n)}.items():
        made = make_cells(store, destroyed=numbers[0], drawn=numbers[1], artefacts=0, seed=99)
        edge = round(made.windows.shape[1] * (1 - (1 + 2 * bundle.card.crop.pad_fraction) / (1 + 2 * WINDOW_PAD)) / 2)
        inner = made.windows[:, edge : made.windows.shape[1] - edge, edge : made.windows.shape[2] - edge]
        crops = resized(inner, bundle.card.crop.size)
        heard, none = run_named(session, crops, np.zeros(len(crops), np.float32))["features"], np.zeros(len(crops))
        out.append(of_features(bundle, f"smudges, {name}", none, heard, none))
    return out


def resized(windows: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(w).resize((side, side), Image.Resampling.BILINEAR)) for w in windows])


def new_site(cells: Heard, layer: np.ndarray, reference: Reference, bundle: Bundle, *, draws: int) -> list[dict]:
    """Five types, strict: as it is, with a profile of the same cells without their labels, with 30 labelled."""
    rows_of = np.array([i for i, n in enumerate(cells.classes) if type_of(n) is not None])
    heard, names = cells.heard[rows_of], cells.classes[rows_of]
    truth = np.array([type_of(n) for n in names])
    temperature, least = bundle.card.temperature, NEW[cells.name]
    profiled = settled(heard, layer, reference, temperature=temperature)
    rows = []
    for which, (words, weights) in enumerate((("as it is", layer), ("with a profile", profiled))):
        probs = cells.probs(weights, temperature, rows_of)
        calls, sure = strict_types(probs, bundle.card.taxonomy)
        right = calls == truth
        rows.append(_row(cells, f"accuracy, five types, strict, {words}", right.mean(), least=least[which]))
        ece = expected_calibration_error(sure, right)
        rows.append(_row(cells, f"ECE, five types, strict, {words}", ece, most=ECE[which]))
        restricted, _ = restricted_types(probs, bundle.card.taxonomy)
        rows.append(_row(cells, f"accuracy, five types, restricted, {words}", (restricted == truth).mean()))
    scores, learnt = [], what_was_learnt(heard, layer, bundle)
    for seed in range(draws):
        used = draw(truth, LABELLED, seed)
        allowed = allowed_classes(names, bundle.card.taxonomy)
        start = choose_start(heard, allowed[used], used, layer, learnt)
        told = {"groups": cells.files[rows_of][used], "learnt": learnt, "seed": seed}
        head = fit_site_layer(heard, allowed[used], start, used=used, **told)
        rest = np.setdiff1d(np.arange(len(truth)), used)
        logits = np.where(allowed.any(0), with_one(heard[rest]) @ head.weights, -np.inf)
        scores.append(float(allowed[rest, logits.argmax(1)].mean()))
    mean = float(np.mean(scores))
    rows.append(_row(cells, f"accuracy on the rest, {LABELLED} cells labelled, {draws} draws", mean, least=least[2]))
    rows.append(_row(cells, f"lowest of those {draws} draws", min(scores)))
    return rows


def settled(heard: np.ndarray, layer: np.ndarray, reference: Reference, *, temperature: float) -> np.ndarray:
    """The layer that `leukoscope adapt --unlabelled` writes."""
    profiled = fit_profile(heard, layer, reference, temperature=temperature).weights
    return lean_on_neighbours(heard, profiled, temperature=temperature)


def draw(truth: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n rows: of each type its share, at least one of a type that has two."""
    rng, out = np.random.default_rng(seed), []
    for kind in np.unique(truth):
        own = np.flatnonzero(truth == kind)
        wanted = round(n * len(own) / len(truth))
        out += rng.permutation(own)[: max(wanted, 1 if len(own) > 1 else 0)].tolist()
    return np.sort(np.array(out[:]))


def home(raabin: Heard, pbc: Heard, layer: np.ndarray, bundle: Bundle) -> list[dict]:
    """Slides of raabin that nobody trained on (its basophils, all phone pictures, left out), and pbc's test split."""
    taxonomy, rows = bundle.card.taxonomy, []
    kept = np.array([i for i, n in enumerate(raabin.classes) if type_of(n) is not None and n != "basophil"])
    truth = np.array([type_of(n) for n in raabin.classes[kept]])
    calls, _ = strict_types(raabin.probs(layer, bundle.card.temperature, kept), taxonomy)
    matrix = confusion_matrix(truth, np.minimum(calls, len(TYPES)), n_classes=len(TYPES) + 1)
    rows.append(_row(raabin, "accuracy, four types, strict, slides left out", (calls == truth).mean(), least=0.95))
    rows.append(_row(raabin, "macro-F1, four types, slides left out", macro_f1(matrix), least=0.93))
    kept = np.flatnonzero(np.isin(pbc.classes, taxonomy.names))
    probs = pbc.probs(layer, bundle.card.temperature, kept)
    truth = np.array([taxonomy.index(n) for n in pbc.classes[kept]])
    matrix = confusion_matrix(truth, probs.argmax(1), n_classes=len(taxonomy.names))
    rows.append(_row(pbc, "macro-F1, ten subtypes", macro_f1(matrix), least=0.91))
    ece = expected_calibration_error(probs.max(1), probs.argmax(1) == truth)
    return [*rows, _row(pbc, "ECE, ten subtypes", ece, most=0.03)]


def blasts(sets: dict[str, Heard], smudges: list[Heard], layer: np.ndarray, bundle: Bundle) -> list[dict]:
    """Normal cells called a blast, real blasts called one, and smudges called one."""
    taxonomy, rows = bundle.card.taxonomy, []
    columns = taxonomy.columns(taxonomy.blasts)

    def judged(cells: Heard, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        probs = cells.probs(layer, bundle.card.temperature, rows)
        return probs[:, columns].sum(1), np.isin(probs.argmax(1), columns)

    normal = []
    for name in NORMAL:
        cells = sets[name]
        is_normal = ~np.isin(cells.classes, NOT_NORMAL)
        prob, called = judged(cells, is_normal)
        rows.append(_row(cells, "normal cells called a blast", called.mean(), most=0.01))
        normal.append(prob)
    lmu = sets["lmu"]
    is_blast = lmu.classes == "myeloblast"
    prob, called = judged(lmu)
    every = np.concatenate(normal)
    truth = np.r_[np.ones(is_blast.sum(), bool), np.zeros(len(every), bool)]
    area = roc_auc(truth, np.r_[prob[is_blast], every])
    rows.append(_row(lmu, "blasts left out against all normal cells, AUROC", area, least=0.995))
    rows.append(_row(lmu, "blasts left out called a blast", called[is_blast].mean(), least=0.95))
    fifteen = sets["lmu15"]
    real = fifteen.classes == "smudge_cell"
    kept = (getattr(fifteen, part)[real] for part in ("classes", "heard", "files", "sharpness"))
    for cells in (*smudges, Heard("smudges, lmu15", *kept)):
        _, called = judged(cells)
        rows.append(_row(cells, "called a blast", called.mean(), most=0.10))
    return rows


def fifteen(cells: Heard, layer: np.ndarray, bundle: Bundle) -> list[dict]:
    """Munich's fifteen classes: called as the nearest class of the model, and what they are called most."""
    taxonomy, rows = bundle.card.taxonomy, []
    allowed = allowed_classes(cells.classes, taxonomy)
    for name in ("myeloblast", "monoblast"):
        allowed[np.ix_(cells.classes == name, taxonomy.columns(taxonomy.blasts))] = True
    called = (with_one(cells.heard) @ layer).argmax(1)
    right = allowed[np.arange(len(called)), called]
    for name in np.unique(cells.classes).tolist():
        own = cells.classes == name
        names, counts = np.unique(called[own], return_counts=True)
        most = taxonomy.names[names[counts.argmax()]]
        rows.append(_row(cells, f"{name}: accuracy", right[own].mean()) | {"n_cells": int(own.sum()), "most": most})
    return [*rows, _row(cells, "all fifteen classes: accuracy", right.mean())]


def _row(cells: Heard, measure: str, value: float, *, least: float | None = None, most: float | None = None) -> dict:
    value = round(float(value), 4)
    threshold = f">= {least}" if least is not None else f"<= {most}" if most is not None else ""
    met = (least is None or value >= least) and (most is None or value <= most)
    said = {"threshold": threshold, "met": ("yes" if met else "no") if threshold else ""}
    return {"set": cells.name, "measure": measure, "value": value, **said, "n_cells": len(cells.heard)}


if __name__ == "__main__":
    benchmark(main, option("--data", type=Path, required=True), MODEL, option("--draws", type=int, default=10))

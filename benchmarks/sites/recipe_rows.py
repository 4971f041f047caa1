"""What benchmarks/sites/recipes.py's files say: a row for each job, set and measure.

    python -m benchmarks.sites.recipe_rows --store a.npz b.npz --files FOLDER [--prior 2.3] [--dry-run] [--only NAME …]

A pair "x+y" of jobs in --only is scored by the mean of their logits. --prior: what is taken off the logits of the
classes that are rare in ordinary blood. Writes benchmarks/results/recipe_rows.csv.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.sites.recipes import joined
from benchmarks.sites.store_file import read_store
from leukoscope.evaluate.calibration import expected_calibration_error
from leukoscope.evaluate.classes import confusion_matrix, macro_f1, roc_auc
from leukoscope.evaluate.coarse import restricted_types, strict_types, type_of
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.classifier.data import CellStore

RARE = (
    "promyelocyte",
    "myelocyte",
    "metamyelocyte",
    "erythroblast",
    "lymphoblast",
    "myeloblast",
    "artefact",
    "smudge_cell",
)
FIVE = ("bccd", "jtsc", "cellavision", "raabin")
BLASTS = ("lymphoblast", "myeloblast")
NORMAL_SETS = ("pbc", "raabin", "bccd", "jtsc", "cellavision", "bionet")
IMMATURE = ("promyelocyte", "myelocyte", "metamyelocyte", "immature_granulocyte")


def softmax(logits: np.ndarray) -> np.ndarray:
    z = np.exp(logits - logits.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def measure(
    store: CellStore, logits: np.ndarray, on_smear: np.ndarray, *, temperature: float = 1.0
) -> dict[str, float]:
    """Every measure of one set of logits (N, C), by name."""
    taxonomy = read_taxonomy("blood-14")
    probs, out = softmax(logits.astype(np.float64) / temperature), {}
    blast = probs[:, taxonomy.columns(BLASTS)].sum(1)
    called = np.isin(probs.argmax(1), taxonomy.columns(BLASTS))
    for name in FIVE:
        rows = np.flatnonzero((store.sets == name) & np.array([type_of(c) is not None for c in store.classes]))
        truth = np.array([type_of(c) for c in store.classes[rows]])
        for kind, judge in (("strict", strict_types), ("restricted", restricted_types)):
            calls, sure = judge(probs[rows], taxonomy)
            out[f"{name} {kind}"] = float((calls == truth).mean())
            if kind == "strict":
                out[f"{name} ECE"] = expected_calibration_error(sure, calls == truth)
    for name in NORMAL_SETS:
        rows = (store.sets == name) & ~np.isin(store.classes, (*BLASTS, "smudge_cell", "artefact"))
        out[f"{name} called blast"] = float(called[rows].mean())
    test = (store.sets == "pbc") & (store.splits == "test") & np.isin(store.classes, taxonomy.names)
    truth = np.array([taxonomy.index(c) for c in store.classes[test]])
    out["pbc test macro-F1"] = macro_f1(confusion_matrix(truth, probs[test].argmax(1), n_classes=len(taxonomy.names)))
    sure = probs[test].max(1)
    out["pbc test ECE"] = expected_calibration_error(sure, probs[test].argmax(1) == truth)
    normal = np.isin(store.sets, NORMAL_SETS) & ~np.isin(store.classes, BLASTS)
    lmu = (store.sets == "lmu") & (store.classes == "myeloblast")
    out["lmu blasts AUROC"] = roc_auc(
        np.r_[np.ones(lmu.sum(), bool), np.zeros(normal.sum(), bool)], np.r_[blast[lmu], blast[normal]]
    )
    out["lmu blasts called"] = float(called[lmu].mean())
    out["lmu NGS called blast"] = float(called[(store.sets == "lmu") & ~lmu].mean())
    lmu15 = store.sets == "lmu15"
    for code in ("myeloblast", "monoblast", "smudge_cell"):
        out[f"lmu15 {code} called blast"] = float(called[lmu15 & (store.classes == code)].mean())
    cnmc = store.sets == "cnmc"
    odds = on_smear[:, taxonomy.index("lymphoblast")].astype(float) - on_smear[:, taxonomy.index("lymphocyte")]
    out["cnmc smear AUROC"] = roc_auc(store.classes[cnmc] == "lymphoblast", odds)
    return out


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    """A job's logits; of "x+y" the mean of several jobs'."""
    parts = [np.load(folder / f"{n}.npz") for n in name.split("+")]
    return {k: np.mean([p[k].astype(np.float32) for p in parts], 0) for k in ("logits", "no_diameter", "on_smear")}


def main(args: Args) -> Rows:
    store = joined([read_store(path) for path in args.store])
    taxonomy = read_taxonomy("blood-14")
    shift = np.where(np.isin(taxonomy.names, RARE), -args.prior, 0.0)
    names = args.only or sorted(p.stem for p in args.files.glob("*.npz"))
    found = {n: load(args.files, n) for n in names}
    tables = {
        n: measure(store, f[args.key] + shift, f["on_smear"], temperature=args.temperature) for n, f in found.items()
    }
    print(*names)
    yield from [
        {"set": key.split(" ")[0], "measure": key, "value": round(value, 4), "job": name, "prior": args.prior}
        for name, table in tables.items()
        for key, value in table.items()
    ]
    return {"seed": 0}


if __name__ == "__main__":
    benchmark(
        main, option("--store", nargs="+", required=True), option("--files", type=Path, required=True),
        option("--only", nargs="*"), option("--prior", type=float, default=0.0),
        option("--temperature", type=float, default=1.0), option("--key", default="logits"),
    )  # fmt: skip

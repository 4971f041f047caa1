"""Planted annotation errors: 5 % of types flipped, 5 % of boxes dropped; how many are among the first 10 % of the list.

    python -m benchmarks.sets.label_errors [--model blood] [--data FOLDER] [--seeds 20] [--sets jtsc cellavision]

Types: pbc's test split without the pictures that its other splits hold too, bccd, jtsc, cellavision; the classifier was
trained on none of them (what its card lists is left out, and the benchmark stops where it lists more). Boxes: bccd's
test split and draaslan; the locator was trained on neither. Nothing was chosen on these (docs/decisions/0008).

The list is the one that `leukoscope dataset suspects` writes: types, boxes and finds in one. A planted error counts as
found when its row is among the first tenth of the rows. The sets hold errors of their own, which stand in the same list
and take places from the planted ones: four photographs of bccd's test split lack the box of a white cell. A flipped
type is any other class of the set that does not contain or belong to the true one, each as likely. Several seeds; low
and high are the worst and the best seed.
Writes benchmarks/results/label_errors.csv.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace

import numpy as np

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.models.locate_accuracy import UNANNOTATED
from benchmarks.public_sets import import_public, row
from leukoscope.checks.labels import are_related, doubt_labels, near_copies
from leukoscope.checks.observe import NOT_WHITE, Observations, is_typed, observe
from leukoscope.checks.suspects import rank_suspects
from leukoscope.dataset.manifest import Dataset
from leukoscope.dataset.splits import drop_copies
from leukoscope.models.bundle import Bundle, find_model

SHARE, FIRST, ASKED = 0.05, 0.10, 0.80
TYPED = ("pbc", "bccd", "jtsc", "cellavision")
BOXED = ("bccd", "draaslan")


def main(args: Args) -> Rows:
    bundles = find_model(args.model)
    with tempfile.TemporaryDirectory() as work:
        for name in args.sets:
            whole = import_public(name, args.data, work)
            dataset = unseen_part(whole)
            check_unseen(dataset, bundles)
            seen, copies = observe(dataset, bundles), near_copies(dataset)
            of_set = []
            if name in TYPED:
                of_set += measure_types(name, dataset, seen, copies=copies, n_seeds=args.seeds)
            if name in BOXED:
                boxed = dataset.subset("test") if name == "bccd" else dataset
                for part, of in box_sets(name, boxed):
                    of_set.append(measure_boxes(part, of, seen, copies=copies, n_seeds=args.seeds))
            yield from of_set
    digests = {f"{task}_sha256": b.card.onnx_sha256[:12] for task, b in bundles.items()}
    return {"seeds": args.seeds, "limits": "worst and best seed", **digests}


def unseen_part(dataset: Dataset) -> Dataset:
    """What the bundled models were not trained on: pbc's test split without copies of its others; else all.

    Of bccd the classifier saw nothing; the locator saw its train split, so boxes are measured on the test split.
    """
    if dataset.name != "pbc":
        return dataset
    others = [dataset.subset(s) for s in ("train", "val")]
    return drop_copies(dataset.subset("test"), *others)


def check_unseen(dataset: Dataset, bundles: dict[str, Bundle]) -> None:
    """Stop where the classifier's card lists the set, unless it is pbc, whose other splits it lists."""
    trained = {d.get("name") for d in bundles["classify"].card.training.get("data", [])}
    if dataset.name in trained - {"pbc"}:
        raise SystemExit(f"the classifier was trained on {dataset.name}: planted types there would measure nothing")
    located = {d.get("name") for d in bundles["locate"].card.training.get("data", [])}
    if dataset.name in located - {"pbc", "bccd"}:
        raise SystemExit(f"the locator was trained on {dataset.name}: dropped boxes there would measure nothing")


def measure_types(
    name: str, dataset: Dataset, seen: Observations, *, copies: dict[str, str], n_seeds: int
) -> list[dict]:
    """Rows for flipped types: in the whole list, and in a list of types alone."""
    whole, types = [], []
    for seed in range(n_seeds):
        planted, places = flip_types(dataset, seed)
        ranked = rank_suspects(planted, seen, seed=seed, copies=copies).rows
        whole.append(found_share(ranked, places))
        doubts, _ = doubt_labels(planted, seen, seed=seed, copies=copies)
        types.append(found_share(sorted(doubts, key=lambda s: -s.suspicion), places))
    n_cells = sum(is_typed(c) for f in dataset.fields for c in f.cells)
    known = {"n_cells": n_cells, "n_planted": len(places), "list_rows": len(ranked)}
    return [
        result(name, "5 % flipped types", whole, least=ASKED) | known,
        result(name, "5 % flipped types, types judged alone", types) | known,
    ]


def box_sets(name: str, dataset: Dataset) -> list[tuple[str, Dataset]]:
    """The set as imported; of bccd also as its boxes are published (white cells without a type: the types come from
    another repository), and so without the four photographs that really lack a box."""
    if name != "bccd":
        return [(name, dataset)]
    fields = []
    for field in dataset.fields:
        cells = [c if c.class_name in NOT_WHITE else replace(c, class_name="white_cell") for c in field.cells]
        fields.append(replace(field, cells=tuple(cells)))
    untyped = replace(dataset, fields=tuple(fields))
    complete = tuple(f for f in fields if not f.file.endswith(tuple(f"{stem}.jpg" for stem in UNANNOTATED)))
    return [
        (f"{name}, types and boxes", dataset),
        (f"{name}, boxes as published", untyped),
        (f"{name}, boxes as published, four photographs that lack one left out", replace(untyped, fields=complete)),
    ]


def measure_boxes(name: str, dataset: Dataset, seen: Observations, *, copies: dict[str, str], n_seeds: int) -> dict:
    """The row for dropped boxes: found where a find without a box lies on the dropped one."""
    shares = []
    for seed in range(n_seeds):
        planted, dropped = drop_boxes(dataset, seed)
        ranked = rank_suspects(planted, seen, seed=seed, copies=copies).rows
        first = [s for s in ranked[: math.ceil(FIRST * len(ranked))] if s.kind == "no_box"]
        found = [any(s.field.key.field_id == f and same_cell(s.box, box) for s in first) for f, box in dropped]
        shares.append(float(np.mean(found)))
    n_cells = sum(c.class_name not in NOT_WHITE for f in dataset.fields for c in f.cells)
    known = {"n_cells": n_cells, "n_planted": len(dropped), "list_rows": len(ranked)}
    return result(name, "5 % dropped boxes", shares, least=ASKED) | known


def flip_types(dataset: Dataset, seed: int) -> tuple[Dataset, set[tuple[str, int]]]:
    """The set with SHARE of its typed cells given another class, and which: {(field id, row)}."""
    rng = np.random.default_rng(seed)
    typed = [(f.key.field_id, at) for f in dataset.fields for at, c in enumerate(f.cells) if is_typed(c)]
    names = sorted({c.class_name for f in dataset.fields for c in f.cells if is_typed(c)})
    chosen = rng.choice(len(typed), max(1, round(SHARE * len(typed))), replace=False)
    places = {typed[i] for i in chosen}
    fields = []
    for field in dataset.fields:
        cells = list(field.cells)
        for at, cell in enumerate(cells):
            if (field.key.field_id, at) in places:
                others = [n for n in names if not are_related(n, cell.class_name)]
                cells[at] = replace(cell, class_name=others[rng.integers(len(others))])
        fields.append(replace(field, cells=tuple(cells)))
    return replace(dataset, fields=tuple(fields)), places


def drop_boxes(dataset: Dataset, seed: int) -> tuple[Dataset, list[tuple[str, tuple[float, ...]]]]:
    """The set without SHARE of its white cells' boxes, and which: [(field id, box)]."""
    rng = np.random.default_rng(seed)
    white = [
        (f.key.field_id, at) for f in dataset.fields for at, c in enumerate(f.cells) if c.class_name not in NOT_WHITE
    ]
    places = {white[i] for i in rng.choice(len(white), max(1, round(SHARE * len(white))), replace=False)}
    fields, dropped = [], []
    for field in dataset.fields:
        gone = [at for at in range(len(field.cells)) if (field.key.field_id, at) in places]
        dropped += [(field.key.field_id, field.cells[at].box) for at in gone]
        fields.append(replace(field, cells=tuple(c for at, c in enumerate(field.cells) if at not in gone)))
    return replace(dataset, fields=tuple(fields)), dropped


def found_share(ranked: list, places: set[tuple[str, int]]) -> float:
    """Share of planted cells among the first tenth of the rows."""
    first = ranked[: math.ceil(FIRST * len(ranked))]
    return len({(s.field.key.field_id, s.row) for s in first if s.kind == "wrong_type"} & places) / len(places)


def same_cell(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether the middle of each box lies in the other."""
    (ax, ay), (bx, by) = ((v[0] + v[2], v[1] + v[3]) for v in (a, b))
    inside_b = 2 * b[0] <= ax <= 2 * b[2] and 2 * b[1] <= ay <= 2 * b[3]
    return inside_b and 2 * a[0] <= bx <= 2 * a[2] and 2 * a[1] <= by <= 2 * a[3]


def result(name: str, measure: str, shares: list[float], *, least: float | None = None) -> dict:
    """A result row: the mean over seeds with the worst and the best one."""
    entry = {"value": float(np.mean(shares)), "low": min(shares), "high": max(shares)}
    return row(name, f"{measure}, found among the first 10 % of the list", entry, least=least)


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL, option("--seeds", type=int, default=20, help="how many plantings a set"),
        option("--sets", nargs="+", default=sorted({*TYPED, *BOXED}), choices=sorted({*TYPED, *BOXED})),
    )  # fmt: skip

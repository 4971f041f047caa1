"""Planted neighbours: a cell of another class is pasted into the border of a crop. How many calls change?

    python -m benchmarks.studies.planted_neighbours --work runs/planted [--only SEED]

bccd's typed cells by people's contours (masks), folds by photograph; stage 1 of the marrow pipeline (bccd_cells.py has
its settings), plain and with centre-border regularisation: ring, or swap. Five seeds, seed s on fold s modulo 3; a
trained network is not trained again. How strongly swap weighs is chosen for each fold among WEIGHTS on a third of its
training photographs, with networks trained on the rest: the smallest weight that leaves 0.4 of the plain network's
changes and costs at most 0.03 of accuracy, else the one with the fewest changes.

Each left-out cell gets four neighbours in turn: left-out cells of other classes, cut out by people's masks, their
middles 0.42 to 0.5 of the side away, behind the cell itself. A call changes when the most probable class is another
than without the neighbour. Asked for: at most half as many as without regularisation. Limits: seeds' ratio of changes,
Student's t on its logarithm. Writes benchmarks/results/planted_neighbours.csv; --sheet: examples as a picture.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.models.bccd_cells import N_FOLDS, OPTIONS, PLAIN, SEEDS, Cells, load_expert, train_variant
from leukoscope.intervals import student_t
from leukoscope.train.crops.data import CropSet, split_by_group
from leukoscope.train.crops.predict import predict_logits

FIRST = replace(PLAIN, second_epochs=0)
SYSTEMS = {
    "plain": FIRST,
    "ring": replace(FIRST, center_border=("ring",)),
    "swap": replace(FIRST, center_border=("swap",)),
}
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
LEFT, COST = 0.4, 0.03  # of the changes; of accuracy: what a weight is chosen by
JUDGED = "swap"  # what configs/cblc-small uses
NEIGHBOURS = 4
NEAR, FAR = 0.42, 0.50  # of the side, from middle to middle
MOST = 0.5  # of the changes without regularisation


def main(args: Args) -> Rows:
    changed: dict[str, list[int]] = {name: [] for name in SYSTEMS}
    right: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    n_planted, weights = [], []
    for seed in SEEDS if args.only is None else [args.only]:
        train, test = load_expert(args, seed % N_FOLDS)
        cells = Cells(train, test, train, test)
        rows, planted = plant(test, np.random.default_rng(seed))
        n_planted.append(len(rows))
        if args.sheet and seed == SEEDS[0]:
            write_sheet(Path(args.sheet), test.crops[rows], planted)
        weights.append(choose_weight(args, train, seed % N_FOLDS))
        for name, config in SYSTEMS.items():
            config = replace(config, swap_weight=weights[-1])
            run = train_variant(args, cells, f"stage 1 {name}", config, seed=seed).last
            n_changed, accuracy = count_changes(run, test, rows, planted)
            changed[name].append(n_changed)
            right[name].append(accuracy)
            print(f"seed {seed}, {name}: {changed[name][-1]} of {len(rows)} changed", flush=True)
    if args.only is not None:
        return
    table = result_rows(changed, right, n_planted)
    chosen = " ".join(map(str, weights))
    note = "95 %, Student's t over seeds"
    yield from table
    return {"limits": note, "seeds": len(SEEDS), "swap_weights": chosen}


def choose_weight(args: Args, train: CropSet, fold: int) -> float:
    """The weight of swapped borders for a fold, told by its training photographs alone."""
    rest, held = split_by_group(train, 1 / 3, seed=fold)
    inner, test = train.subset(rest), train.subset(held)
    cells = Cells(inner, test, inner, test)
    rows, planted = plant(test, np.random.default_rng(100 + fold))
    found = {}
    for weight in (0.0, *WEIGHTS):
        config = replace(SYSTEMS["swap"], swap_weight=weight) if weight else FIRST
        run = train_variant(args, cells, f"choose fold {fold} swap {weight}", config, seed=fold).last
        found[weight] = count_changes(run, test, rows, planted)
        print(f"fold {fold}, weight {weight}: {found[weight]} of {len(rows)} changed, and accuracy", flush=True)
    plain = found.pop(0.0)
    good = [w for w, (n, right) in found.items() if n <= LEFT * plain[0] and right >= plain[1] - COST]
    return min(good) if good else min(found, key=lambda w: found[w][0])


def count_changes(run: Path, cells: CropSet, rows: np.ndarray, planted: np.ndarray) -> tuple[int, float]:
    """Calls that another class takes once the neighbour is there, and accuracy without it."""
    before, after = (predict_logits(run, crops).argmax(1) for crops in (cells.crops, planted))
    return int((before[rows] != after).sum()), round(float((before == cells.labels).mean()), 4)


def plant(cells: CropSet, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(M,) row of the cell and (M, S, S, 3) its crop with a neighbour, NEIGHBOURS times a cell."""
    rows, crops = [], []
    for row in range(len(cells)):
        others = np.flatnonzero(cells.labels != cells.labels[row])
        for turn, donor in enumerate(rng.choice(others, NEIGHBOURS, replace=False)):
            angle = (turn + rng.random()) * 2 * np.pi / NEIGHBOURS
            shift = rng.uniform(NEAR, FAR) * cells.crops.shape[1] * np.array([np.cos(angle), np.sin(angle)])
            crops.append(paste(cells, row, int(donor), shift))
            rows.append(row)
    return np.array(rows), np.stack(crops)


def paste(cells: CropSet, row: int, donor: int, shift: np.ndarray) -> np.ndarray:
    """(S, S, 3): a crop with the donor's cell moved by `shift` (x, y) px, behind the crop's own cell."""
    side = cells.crops.shape[1]
    right, down = (round(float(v)) for v in shift)
    own = cells.extras["masks"][row] > 0
    there = np.zeros((side, side), bool)
    moved = cells.crops[row].copy()
    y0, y1, x0, x1 = max(down, 0), min(side + down, side), max(right, 0), min(side + right, side)
    there[y0:y1, x0:x1] = cells.extras["masks"][donor][y0 - down : y1 - down, x0 - right : x1 - right] > 0
    there &= ~own
    picture = np.zeros_like(moved)
    picture[y0:y1, x0:x1] = cells.crops[donor][y0 - down : y1 - down, x0 - right : x1 - right]
    moved[there] = picture[there]
    return moved


def result_rows(changed: dict[str, list[int]], right: dict[str, list[float]], n_planted: list[int]) -> list[dict]:
    """Share of calls that change, and how many for each change without regularisation."""
    rows = []
    total = sum(n_planted)
    plain = np.array(changed["plain"])
    for name in SYSTEMS:
        own = np.array(changed[name])
        rows.append(
            {"set": "bccd", "measure": f"calls that change: {name}", "value": round(float(own.sum() / total), 4),
             "n_changed": int(own.sum()), "n_planted": total, "by_seed": " ".join(map(str, own))}
        )  # fmt: skip
        rows.append(
            {
                "set": "bccd",
                "measure": f"accuracy without neighbour: {name}",
                "value": round(float(np.mean(right[name])), 4),
            }
        )
        if name == "plain":
            continue
        ratio = own.sum() / max(plain.sum(), 1)
        logs = np.log((own + 0.5) / (plain + 0.5))
        half = student_t(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
        rows.append(
            {"set": "bccd", "measure": f"changes against plain: {name}", "value": round(float(ratio), 4),
             "low": round(float(np.exp(logs.mean() - half)), 4), "high": round(float(np.exp(logs.mean() + half)), 4),
             "threshold": f"<= {MOST}" if name == JUDGED else "",
             "met": ("yes" if ratio <= MOST else "no") if name == JUDGED else ""}
        )  # fmt: skip
    return rows


def write_sheet(path: Path, before: np.ndarray, after: np.ndarray) -> None:
    """Sixteen crops, each with its neighbour beside it."""
    step = max(1, len(before) // 16)
    pairs = [np.hstack([b, a]) for b, a in zip(before[::step][:16], after[::step][:16], strict=True)]
    lines = [np.hstack(pairs[i : i + 4]) for i in range(0, 16, 4)]
    Image.fromarray(np.vstack(lines)).resize((1408, 704)).save(path)


if __name__ == "__main__":
    benchmark(
        main, *OPTIONS, option("--only", type=int, choices=SEEDS, help="do this seed and stop"),
        option("--sheet", help="write examples into this PNG"),
    )  # fmt: skip

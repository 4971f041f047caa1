"""Near duplicates found among planted ones in pbc, and pairs reported that are none.

    python -m benchmarks.sets.near_duplicates [--part measure|development] [--each 200] [--data FOLDER]

The thresholds were chosen on pbc's training pictures (--part development prints what stood behind them); they are
measured on the pictures of its validation and test splits: 200 copies of each kind, each of another picture, against
all other pairs. A pair is false unless both pictures come from one picture (the same file counts as one). Of bccd
every pair was looked at; of cnmc, whose pairs are too many to look at, those between two subjects are false.
Both sets were looked at while the threshold was chosen: their rows are no independent measure.
Writes benchmarks/results/near_duplicates.csv.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public
from benchmarks.sets.planted import KINDS, plant
from leukoscope.dataset.audit import LEAST_AGREEMENT, Pair, find_duplicates
from leukoscope.dataset.manifest import Dataset

ASKED = dict(zip(list(KINDS)[:5], (1.00, 0.99, 0.99, 0.97, 0.90), strict=True))
MOST_FALSE = 1.0  # per 1,000 pictures
SEEDS = {"development": 0, "measure": 1}
SPLITS = {"development": ("train",), "measure": ("val", "test")}
# Numbers of bccd's photographs that show one place of the smear, by eye: each pair was looked at beside the other.
BCCD_SAME = {
    ("00386", "00391"), ("00230", "00257"), ("00227", "00260"), ("00037", "00038"),
    ("00382", "00395"), ("00231", "00256"), ("00229", "00258"),
}  # fmt: skip


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        pbc = import_public("pbc", args.data, work)
        rows = planted_rows(pbc, list(ASKED), args, Path(work))
        rows += planted_rows(pbc, [k for k in KINDS if k not in ASKED], args, Path(work))
        if args.part == "measure":
            rows += [bccd_row(import_public("bccd", args.data, work)), cnmc_row(import_public("cnmc", args.data, work))]
    if args.part == "measure":
        yield from rows
        return {"seed": SEEDS[args.part], "splits": "+".join(SPLITS[args.part]), "least_agreement": LEAST_AGREEMENT}
    print(*rows, sep="\n")  # thresholds were chosen on this half: it is not written
    return {}


def planted_rows(pbc: Dataset, kinds: list[str], args: Args, work: Path) -> list[dict]:
    """A row a kind, and one of the false pairs among all these pictures."""
    fields = [f for f in pbc.fields if f.split in SPLITS[args.part]]
    rng = np.random.default_rng(SEEDS[args.part])
    chosen = rng.permutation(len(fields))[: args.each * len(kinds)].reshape(len(kinds), -1)
    paths, origins, kind_of = [pbc.path(f) for f in fields], [f.sha256 for f in fields], {}
    for kind, originals in zip(kinds, chosen, strict=True):
        for row in originals:
            kind_of[len(paths)] = kind
            copy = work / f"{args.part}-{len(kinds)}-{len(paths)}.jpg"
            plant(paths[row], kind, copy, rng)
            paths.append(copy)
            origins.append(fields[row].sha256)
    # The development part also shows what lies below the threshold.
    least = 0.4 if args.part == "development" else LEAST_AGREEMENT
    found = find_duplicates(paths, least_agreement=least)
    at = {f.sha256: row for row, f in reversed(list(enumerate(fields)))}
    best: dict[int, float] = {}
    false: list[Pair] = []
    for pair in found.pairs:
        if origins[pair.first] != origins[pair.second]:
            false.append(pair)
        for copy, other in ((pair.first, pair.second), (pair.second, pair.first)):
            if copy in kind_of and origins[copy] == origins[other] and other == at[origins[other]]:
                best[copy] = pair.agreement
    rows = [kind_row(kind, [best.get(c, 0.0) for c, k in kind_of.items() if k == kind]) for kind in kinds]
    for pair in false[:20]:
        print(f"not planted: {pair.agreement:.3f} {paths[pair.first].name} {paths[pair.second].name}")
    n = sum(p.agreement >= LEAST_AGREEMENT for p in false)
    title = "asked kinds" if kinds == list(ASKED) else "other kinds"
    row = ratio_row("pbc", f"false pairs a 1,000 pictures, {title} planted", n, len(paths), most=MOST_FALSE)
    return [*rows, row | {"greatest_agreement": round(max((p.agreement for p in false), default=0.0), 4)}]


def kind_row(kind: str, agreements: list[float]) -> dict:
    recall = float(np.mean([a >= LEAST_AGREEMENT for a in agreements]))
    least = ASKED.get(kind)
    return {
        "set": "pbc",
        "measure": f"recall, {kind}",
        "value": round(recall, 4),
        "threshold": "" if least is None else f">= {least}",
        "met": "" if least is None else ("yes" if recall >= least else "no"),
        "n": len(agreements),
        "least_agreement_found": round(min((a for a in agreements if a), default=0.0), 4),
    }


def bccd_row(bccd: Dataset) -> dict:
    found = find_duplicates([bccd.path(f) for f in bccd.fields]).pairs
    numbers = [tuple(sorted(Path(bccd.fields[r].file).stem[-5:] for r in (p.first, p.second))) for p in found]
    false = sum(pair not in BCCD_SAME for pair in numbers)
    row = ratio_row("bccd", "false pairs a 1,000 pictures (by eye)", false, len(bccd.fields), most=MOST_FALSE)
    return row | {"n_pairs": len(found)}


def cnmc_row(cnmc: Dataset) -> dict:
    found = find_duplicates([cnmc.path(f) for f in cnmc.fields]).pairs
    who = [f.key.patient_id for f in cnmc.fields]
    false = sum(who[p.first] != who[p.second] for p in found)
    row = ratio_row("cnmc", "pairs between two subjects a 1,000 pictures", false, len(cnmc.fields), most=MOST_FALSE)
    return row | {"n_pairs": len(found)}


def ratio_row(name: str, measure: str, n_false: int, n: int, *, most: float) -> dict:
    value = 1000 * n_false / n
    met = "yes" if value <= most else "no"
    return {"set": name, "measure": measure, "value": round(value, 3), "threshold": f"<= {most}", "met": met, "n": n}


if __name__ == "__main__":
    benchmark(
        main, DATA,
        option("--part", choices=tuple(SPLITS), default="measure", help="which half of pbc (default: measure)"),
        option("--each", type=int, default=200, help="copies of each kind (default: 200)"),
    )  # fmt: skip

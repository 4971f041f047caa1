"""Public sets' cells in files that travel: what benchmarks/sites/recipes.py trains on where the sets are not.

    python -m benchmarks.sites.pack --data DATA --out a.npz --sets pbc lmu [--made 900 400 600]

DATA: folders that benchmarks/sites/laboratories.py made. --made adds destroyed and drawn smudges and other artefacts,
made of the training cells in the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import option, parse
from benchmarks.sites.laboratories import read_roles
from benchmarks.sites.store_file import write_store
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.taxonomy import WBC_11
from leukoscope.train.classifier.data import load_cells
from leukoscope.train.classifier.made_cells import make_cells

UM_PER_PX = {"pbc": 0.105, "cnmc": 0.065}  # as in configs/classifier.toml


def without_copies(dataset: Dataset) -> Dataset:
    """The data set without training fields whose file also stands in another split."""
    hidden = {f.sha256 for f in dataset.fields if f.split not in ("train", None)}
    kept = tuple(f for f in dataset.fields if f.split not in ("train", None) or f.sha256 not in hidden)
    return replace(dataset, fields=kept)


def main() -> None:
    args = parse(
        __doc__,
        option("--data", type=Path, required=True),
        option("--out", type=Path, required=True),
        option("--sets", nargs="+", required=True),
        option("--backgrounds", type=int, default=200),
        option("--made", nargs=3, type=int, default=(0, 0, 0)),
    )
    roles = read_roles()
    datasets = [without_copies(read_dataset(args.data / name)) for name in args.sets]
    store = load_cells(datasets, um_per_px=UM_PER_PX, seed=0, backgrounds=args.backgrounds, attributes=WBC_11)
    store = store.grounds_of([n for n in args.sets if roles[n]["role"] == "train"])
    if sum(args.made):
        is_train = [roles[n]["role"] == "train" for n in store.sets.tolist()]
        of = store.subset(np.flatnonzero(is_train))
        destroyed, drawn, artefacts = args.made
        store = store.joined(make_cells(of, destroyed=destroyed, drawn=drawn, artefacts=artefacts, seed=0))
    write_store(store, args.out)
    print(f"{args.out}: {len(store)} cells, {len(store.backgrounds)} backgrounds, {args.out.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()

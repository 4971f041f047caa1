"""`leukoscope adapt`: fit a model to one's own laboratory. Needs the extra: pip install 'leukoscope[train]'."""

from __future__ import annotations

import argparse
import importlib.util

from leukoscope.cli.options import add_command, positive, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
example:
  leukoscope adapt blood --data sets/ours --choose 30 --out to-label.csv
  (30 cells that stand for the others; label those, import them, then)
  leukoscope adapt blood --data sets/ours --out models/ours
  leukoscope analyze photographs/ --model models/ours --out report
  leukoscope adapt blood --from reading-room.db --out models/ours
  (the cells that readers signed in `leukoscope review`; written only if it is better on patients left out)

docs/adaptation.md says which cells to label and what to expect. Needs torch: pip install 'leukoscope[train]'
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "adapt", "fit a model to your laboratory with a few labelled cells", EXAMPLE)
    parser.add_argument("model", metavar="MODEL", help="a bundled model's name, or a model folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="DIR", help="a data set folder of your laboratory's cells")
    source.add_argument("--from", dest="db", metavar="DB", help="the reading room's database: cells that were signed")
    parser.add_argument(
        "--out", metavar="OUT", required=True, help="folder for the adapted model; with --choose a CSV file"
    )
    parser.add_argument(
        "--fraction", type=positive, metavar="F", help="use this share of the labelled cells, measure on the others"
    )
    parser.add_argument("--choose", type=whole, metavar="N", help="adapt nothing: list the N cells to label first")
    parser.add_argument("--seed", type=whole, default=0, help="of the draws; 0 unless given")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Adapt or choose, then say what came of it."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("adapting needs torch, which is not installed: pip install 'leukoscope[train]'")
    if args.choose is not None and args.fraction is not None:
        raise InputError("--choose lists cells and --fraction measures: give one of them")
    if args.db is not None:
        return _run_from(args)
    from leukoscope.train.adapt.site import adapt_model, suggest_cells, write_suggestions

    with progress_bar("photographs") as progress:
        if args.choose is not None:
            rows = suggest_cells(args.model, args.data, args.choose, seed=args.seed, progress=progress)
            write_suggestions(rows, args.out)
            print(f"{len(rows)} cells to label: {args.out}")
            return
        found = adapt_model(args.model, args.data, args.out, fraction=args.fraction, seed=args.seed, progress=progress)
    counts = ", ".join(f"{n} {name}" for name, n in found["labelled"].items())
    print(f"labelled cells used: {found['n_labelled']} ({counts})")
    if found["pull"] is None:
        print("no new last layer was better than the old one by cross-validation: it stays as it was")
    for kind, values in (("cross-validation", found["cross_validated"]), ("cells not used", found["held_out"])):
        if values:
            print(f"accuracy, {kind}: {values['before']:.3f} before, {values['after']:.3f} after")
    print(f"adapted model: {args.out}")


def _run_from(args: argparse.Namespace) -> None:
    """Adapt to the reading room's signed cells, or choose the next ones."""
    if importlib.util.find_spec("sqlalchemy") is None:
        raise InputError("the reading room is not installed: pip install 'leukoscope[review]'")
    if args.fraction is not None:
        raise InputError("--from holds out by patient: it takes no --fraction")
    from leukoscope.train.adapt.site import write_suggestions
    from leukoscope.web.adapting import adapt_from, next_cells

    with progress_bar("folds" if args.choose is None else "photographs") as progress:
        if args.choose is not None:
            rows = next_cells(args.model, args.db, args.choose, seed=args.seed, progress=progress)
            write_suggestions(rows, args.out)
            print(f"{len(rows)} cells to review next: {args.out}")
            return
        found = adapt_from(args.model, args.db, args.out, seed=args.seed, progress=progress)
    print(f"reviewed cells: {found.n_cells} of {found.n_groups} {found.unit}s, each {found.unit} left out once")
    for name, values in (("before", found.before), ("after", found.after), ("gain", found.gain)):
        value, low, high = values
        print(f"accuracy, {name}: {value:.3f} (95 % limits {low:.3f} to {high:.3f})")
    print(f"adapted model: {args.out}")

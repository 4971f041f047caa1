"""`leukoscope evaluate`: measure a model on annotated data."""

from __future__ import annotations

import argparse

from leukoscope.cli.options import add_command
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
example:
  leukoscope evaluate blood --data sets/bccd --split test --out results/bccd
  (writes metrics.json, confusion.csv and predictions.csv into results/bccd)
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "evaluate", "measure a model on an annotated data set", EXAMPLE)
    parser.add_argument("model", metavar="MODEL", help="a bundled model's name, or a model folder")
    parser.add_argument(
        "--data", metavar="DIR", required=True, help="a data set folder made by `dataset import` or `simulate`"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test", "all"), required=True, help="which fields to measure on"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, then print the main numbers with their limits."""
    from leukoscope.evaluate import describe, evaluate_model

    with progress_bar("photographs") as progress:
        result = evaluate_model(args.model, args.data, args.split, args.out, show=progress)
    print("\n".join(describe(result)))
    print(f"results: {args.out}")

"""`leukoscope evaluate`: measure a model on annotated data, or counts against people's counts."""

import argparse
from pathlib import Path

from leukoscope.cli.options import add_command
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope evaluate blood --data sets/bccd --split test --out results/bccd
  (a model on annotated photographs: metrics.json, confusion.csv and predictions.csv)

  leukoscope evaluate report/ --against reader-a.csv reader-b.csv --out results/laboratory
  leukoscope evaluate reader-b.csv --against reader-a.csv --specimen blood --out results/readers
  (a run's counts, or a reader's, against people's: against.html, against.json and tables/*.csv; a CSV file has a row
  a patient, a column patient_id and a column a class, in cells: docs/laboratory.md)
"""
OF_MODEL, OF_COUNTS = ("data", "split"), ("against", "specimen", "limits", "repeats", "shared_only")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "evaluate", "measure a model on annotated data, or counts against people's", EXAMPLE, run
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a bundled model's name or a model folder; with --against a run's folder or a CSV",
    )
    parser.add_argument("--data", metavar="DIR", help="a data set folder made by `dataset import` or `simulate`")
    parser.add_argument("--split", choices=("train", "val", "test", "all"), help="which fields to measure on")
    parser.add_argument(
        "--against", metavar="CSV", nargs="+", help="people's counts: patients and classes, one file a reader"
    )
    parser.add_argument("--specimen", choices=("blood", "marrow"), help="of CSV counts (a run's record states it)")
    parser.add_argument("--limits", metavar="TOML", help="what is abnormal in your laboratory (docs/laboratory.md)")
    parser.add_argument("--repeats", metavar="CSV", help="repeated counts, with a column condition: imprecision")
    parser.add_argument(
        "--shared-only", action="store_true", help="compare the patients that all files have; name the others"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the results")


def run(args: argparse.Namespace) -> None:
    """Measure, then print the main numbers with their limits."""
    _check(args)
    if args.against:
        from leukoscope.experiments.laboratory import Question, describe_against, evaluate_against

        limits, repeats = (Path(file) if file else None for file in (args.limits, args.repeats))
        against, shared_only = tuple(map(Path, args.against)), args.shared_only
        model = Path(args.model)
        question = Question(model, against, args.specimen, limits=limits, repeats=repeats, shared_only=shared_only)
        print("\n".join(describe_against(evaluate_against(question, args.out))))
        print(f"results: {Path(args.out) / 'against.html'}")
        return
    from leukoscope.evaluate import describe, evaluate_model

    with progress_bar("photographs") as progress:
        result = evaluate_model(args.model, args.data, args.split, args.out, progress=progress)
    print("\n".join(describe(result)))
    print(f"results: {args.out}")


def _check(args: argparse.Namespace) -> None:
    """Options of one way only; InputError names what is missing or does not belong."""
    needed, other = ((), OF_MODEL) if args.against else (OF_MODEL, OF_COUNTS)
    missing = [f"--{name}" for name in needed if not getattr(args, name)]
    if missing:
        raise InputError(
            f"evaluate needs {' and '.join(missing)} to measure a model, or --against CSV to compare counts"
        )
    wrong = [f"--{name.replace('_', '-')}" for name in other if getattr(args, name)]
    if wrong:
        way = "--against" if args.against else "--data"
        raise InputError(f"{', '.join(wrong)} does not belong to evaluate with {way}: leave it out")

"""`leukoscope dataset suspects`: annotations that a model contradicts, as one ranked list."""

import argparse

from leukoscope.cli.options import add_command, add_dataset, whole
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
examples:
  leukoscope dataset suspects sets/bccd --html suspects.html
  leukoscope dataset suspects sets/bccd --masks "masks/BloodImage_Mask_{number}.png"

Writes suspects.csv into DIR (or where --csv says): every annotation, the most suspect first. A suspicion is a model's
view, not a finding: look at the cell, then decide. docs/data-checks.md says how the list is made.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    parser = add_command(actions, "suspects", "list annotations that look wrong, the most suspect first", EXAMPLE, run)
    add_dataset(parser)
    parser.add_argument(
        "--model", metavar="NAME|DIR", default="blood", help="a bundled model's name or a model folder (default: blood)"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a contact sheet of the first 200")
    parser.add_argument("--csv", metavar="FILE", help="where to write the list (default: DIR/suspects.csv)")
    parser.add_argument(
        "--masks",
        metavar="PATTERN",
        help="a picture's mask, relative to the pictures, with {stem} or {number} of its name: look for cells in it "
        "that have no box",
    )
    parser.add_argument("--seed", metavar="S", type=whole, default=0, help="deals cells to folds (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Look, write the list, then say how many annotations are contradicted."""
    from collections import Counter
    from pathlib import Path

    from leukoscope.checks.suspect import KIND_WORDS
    from leukoscope.checks.suspects import find_suspects, write_suspects

    with progress_bar("photographs") as progress:
        suspects = find_suspects(args.dir, args.model, masks=args.masks, seed=args.seed, progress=progress)
    path = Path(args.csv) if args.csv else Path(args.dir) / "suspects.csv"
    write_suspects(suspects, path)
    if args.html:
        from leukoscope.checks.suspects_html import write_sheet

        with progress_bar("contact sheet") as progress:
            write_sheet(suspects, args.html, progress=progress)
    contradicting = suspects.contradicting()
    models = ", ".join(f"{task} {name}" for task, name in suspects.models.items())
    print(
        f"{suspects.dataset.name}: {len(contradicting)} of {len(suspects.rows)} rows contradict the annotation "
        f"({models})"
    )
    for kind, n in Counter(s.kind for s in contradicting).most_common():
        print(f"  {n} x {KIND_WORDS[kind]}")
    for note in suspects.notes:
        print(f"  note: {note}")
    print(f"list: {path}" + (f"; contact sheet: {args.html}" if args.html else ""))

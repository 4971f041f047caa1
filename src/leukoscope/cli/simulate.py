"""`leukoscope simulate`: rendered smears with known truth."""

from __future__ import annotations

import argparse

from leukoscope.cli.options import add_command, whole
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
example:
  leukoscope simulate --out smears --patients 3 --seed 7
  (drawings, not photographs: they say so on themselves and in their manifest)
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "simulate", "draw smears with known cells, boxes and contours", EXAMPLE)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the pictures and their manifest")
    parser.add_argument("--patients", metavar="N", type=whole, required=True, help="how many patients")
    parser.add_argument("--seed", metavar="S", type=whole, required=True, help="the same seed draws the same smears")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw, then say where."""
    from leukoscope.simulate import simulate

    with progress_bar("pictures") as progress:
        simulate(args.out, patients=args.patients, seed=args.seed, progress=progress)
    print(f"rendered smears (drawings, not photographs): {args.out}")

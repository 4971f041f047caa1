"""`leukoscope simulate`: rendered smears and whole cohorts with known truth."""

from __future__ import annotations

import argparse

from leukoscope.cli.options import add_command, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope simulate --out smears --patients 4 --seed 7
  leukoscope simulate --out cohort --specimen marrow --patients 60 --centers 6 --seed 1

With --centers: a cohort of several laboratories, whose stains, cameras and scales differ, with each patient's
diagnosis and true ratios (patients.csv, truth.json), also as a CVAT project (cvat/).
All are drawings, not photographs: they say so on themselves and in their manifest.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "simulate", "draw smears with known cells, boxes and contours", EXAMPLE)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the pictures and their manifest")
    parser.add_argument("--patients", metavar="N", type=whole, required=True, help="how many patients")
    parser.add_argument("--seed", metavar="S", type=whole, required=True, help="the same seed draws the same smears")
    parser.add_argument(
        "--centers", "--centres", metavar="K", type=whole, help="draw a cohort from this many laboratories"
    )
    parser.add_argument(
        "--specimen", choices=("blood", "marrow"), help="of a cohort: blood (nine classes) or marrow (sixteen)"
    )
    parser.add_argument(
        "--fields", metavar="F", type=whole, help="of a cohort: photographs a patient (default: blood 10, marrow 5)"
    )
    parser.add_argument(
        "--near-line", action="store_true", help="of a cohort: blast ratios around 20 %%, patients hard to tell apart"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw, then say where."""
    if args.centers is None:
        _run_demo(args)
    else:
        _run_cohort(args)


def _run_demo(args: argparse.Namespace) -> None:
    from leukoscope.simulate import simulate

    for option in ("specimen", "fields", "near_line"):
        if getattr(args, option) not in (None, False):
            option = option.replace("_", "-")
            raise InputError(f"--{option} belongs to a cohort: add --centers K, or leave --{option} out")
    with progress_bar("pictures") as progress:
        simulate(args.out, patients=args.patients, seed=args.seed, progress=progress)
    print(f"rendered smears (drawings, not photographs): {args.out}")


def _run_cohort(args: argparse.Namespace) -> None:
    from leukoscope.simulate import CohortOptions, simulate_cohort

    if args.fields == 0:
        raise InputError("--fields must be 1 or more, got 0")
    options = CohortOptions(
        specimen=args.specimen or "blood",
        patients=args.patients,
        centers=args.centers,
        seed=args.seed,
        fields_per_patient=args.fields,
        near_line=args.near_line,
    )
    with progress_bar("pictures") as progress:
        simulate_cohort(args.out, options, progress=progress)
    print(f"rendered {options.specimen} cohort (drawings, not photographs): {args.out}")

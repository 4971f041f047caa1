"""`leukoscope simulate`: rendered smears, whole cohorts and whole slides with known truth."""

import argparse

from leukoscope.cli.options import add_command, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope simulate --out smears --patients 4 --seed 7
  leukoscope simulate --out cohort --specimen marrow --patients 60 --centers 6 --seed 1
  leukoscope simulate --out slide --slide 12000x8000 --seed 3

With --centers: a cohort of several laboratories, whose stains, cameras and scales differ, with each patient's
diagnosis and true ratios (patients.csv, truth.json), also as a CVAT project (cvat/).
With --slide: one whole smear, thick end, monolayer and feathered end, as a pyramidal TIFF (slide.tif) and a DICOM
series (dicom/), with every white cell and the monolayer in truth.json (extra: slides).
All are drawings, not photographs: they say so on themselves and in their manifest.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "simulate", "draw smears with known cells, boxes and contours", EXAMPLE, run)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the pictures and their manifest")
    parser.add_argument("--patients", metavar="N", type=whole, help="how many patients")
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
    parser.add_argument("--slide", metavar="WxH", help="draw one whole slide of W x H px at 0.25 µm/px instead")


def run(args: argparse.Namespace) -> None:
    """Draw, then say where."""
    if args.slide is not None:
        _run_slide(args)
    elif args.patients is None:
        raise InputError("say how many patients to draw (--patients N), or draw a slide (--slide WxH)")
    elif args.centers is None:
        _run_demo(args)
    else:
        _run_cohort(args)


def _run_slide(args: argparse.Namespace) -> None:
    from leukoscope.simulate.slide import SlideOptions
    from leukoscope.simulate.slide_files import simulate_slide

    for option in ("patients", "centers", "specimen", "fields", "near_line"):
        if getattr(args, option) not in (None, False):
            raise InputError(f"--{option.replace('_', '-')} does not go with --slide: leave one of them out")
    width, _, height = args.slide.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--slide must be WIDTHxHEIGHT in px, such as 12000x8000, got {args.slide!r}")
    with progress_bar("blocks") as progress:
        simulate_slide(args.out, SlideOptions(int(width), int(height), args.seed), progress=progress)
    print(f"rendered slide (a drawing, not a photograph): {args.out} (slide.tif, dicom/, truth.json)")


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

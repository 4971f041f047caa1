"""`leukoscope dataset crops`: the annotated cells as single pictures."""

import argparse

from leukoscope.cli.options import add_command, add_dataset, add_deidentify, positive, whole
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
examples:
  leukoscope dataset crops sets/bccd --out cells/bccd --pad-px 50
  leukoscope dataset import csv cells/bccd --out sets/bccd-cells --source cells/bccd/source.toml

One PNG a cell in a folder of its class, and crops.csv: where each is from. The crops are not resized. The same command
goes on where it was stopped (with --deidentify only where --key keeps the pseudonyms).
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    parser = add_command(actions, "crops", "cut out every annotated cell with its surroundings", EXAMPLE, run)
    add_dataset(parser)
    parser.add_argument("--out", metavar="DST", required=True, help="a new folder for the crops")
    parser.add_argument(
        "--pad-px",
        metavar="N",
        type=whole,
        required=True,
        help="pixels of the photograph around the box on all sides (the PCM paper: 50)",
    )
    parser.add_argument(
        "--um-per-px", metavar="X", type=positive, help="micrometres a pixel, where the data set does not state it"
    )
    parser.add_argument(
        "--edge",
        choices=("cut", "fill"),
        default="cut",
        help="where a crop would reach over its picture: end it there (cut), or paint on in the colour of the "
        "picture's background (fill); default: cut",
    )
    add_deidentify(parser)


def run(args: argparse.Namespace) -> None:
    """Cut, then say how many of which class, what the edge did, and what the scale is."""
    from leukoscope.checks.crops import export_crops
    from leukoscope.dataset.deidentify import handed_on

    hidden = {"deidentify": args.deidentify, "key": args.key}
    with progress_bar("photographs") as progress, handed_on(args.dir, args.out, **hidden) as dataset:
        report = export_crops(
            dataset, args.out, pad_px=args.pad_px, um_per_px=args.um_per_px, edge=args.edge, progress=progress
        )
    print(f"{report.n_crops} crops" + (f", {report.n_kept} of them were there already" if report.n_kept else ""))
    print("  classes: " + ", ".join(f"{name} {n}" for name, n in report.by_class.items()))
    done = {"cut": "end there and are smaller", "fill": "are filled with its background colour"}[args.edge]
    print(f"  at the picture's edge: {report.n_at_edge} crops {done}")
    print(f"  micrometres a pixel: {', '.join(report.um_per_px)}")
    for file, reason in report.failed:
        print(f"  not read: {file} ({reason.replace('_', ' ')})")
    print(f"crops: {args.out} (where each is from: crops.csv)")

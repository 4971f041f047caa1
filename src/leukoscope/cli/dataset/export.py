"""`leukoscope dataset export`: a Leukoscope data set into a format that other tools read."""

import argparse

from leukoscope.cli.options import add_command, add_deidentify
from leukoscope.cli.progress import progress_bar
from leukoscope.dataset.formats import unaliased, writable

EXAMPLE = """\
examples:
  leukoscope dataset export yolo sets/bccd --out bccd_yolo
  leukoscope dataset export cvat sets/ours --out ours_cvat
  leukoscope dataset export coco sets/ward --out for-colleagues --deidentify

Pictures are copied. Importing the result gives the same data set: what the format can't hold stands beside it.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    action = add_command(actions, "export", "write a data set in a format of other tools", EXAMPLE, run)
    action.add_argument("format", metavar="FORMAT", type=unaliased, choices=writable(), help=", ".join(writable()))
    action.add_argument("dataset", metavar="DIR", help="a data set folder (see dataset import)")
    action.add_argument("--out", metavar="DST", required=True, help="new folder for the pictures and annotations")
    add_deidentify(action)


def run(args: argparse.Namespace) -> None:
    """Export, then say what was written and what stands beside the format."""
    from leukoscope.dataset.deidentify import handed_on
    from leukoscope.dataset.exporter import export_dataset

    hidden = {"deidentify": args.deidentify, "key": args.key}
    with progress_bar("copying pictures") as progress, handed_on(args.dataset, args.out, **hidden) as dataset:
        report = export_dataset(args.format, dataset, args.out, progress=progress)
    print(f"{report.name}: {report.n_fields} fields, {report.n_cells} cells as {report.format}")
    print("  classes: " + ", ".join(f"{name} {n}" for name, n in report.cells_by_class.items()))
    for line in report.beside:
        print(f"  beside: {line}")
    if not args.deidentify:
        print("  pictures are copied with whatever their files say (EXIF, comments): --deidentify keeps pixels only")
    print(f"written: {args.out}")

"""`leukoscope dataset import`: annotated photographs of another format into a Leukoscope data set."""

from __future__ import annotations

import argparse
from collections import Counter

from leukoscope.cli.options import add_command

EXAMPLE = """\
examples:
  leukoscope dataset import voc BCCD/ --out sets/bccd --source bccd
  leukoscope dataset import yolo pbc/ --out sets/pbc --source pbc --attributes pbc/attributes.csv
  leukoscope dataset import folders my_cells/ --out sets/mine --patients patients.csv
  leukoscope dataset import cvat task_7/ --out sets/ours --source pcm --taxonomy pcm-9
  leukoscope dataset import csv lab/ --out sets/lab --source lab.toml --columns image=Picture,label=Type

Pictures are referred to, not copied. Every box or picture that was dropped or repaired is listed in import-report.json.
"""
FORMATS = ("yolo", "voc", "coco", "cvat", "folders", "csv", "label-studio", "xyc")


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    action = add_command(actions, "import", "import an annotated data set from another format", EXAMPLE)
    action.add_argument("format", metavar="FORMAT", choices=FORMATS, help=", ".join(FORMATS))
    action.add_argument("src", metavar="SRC", help="the data set's folder, as published")
    action.add_argument("--out", metavar="DIR", required=True, help="folder for the manifest")
    action.add_argument(
        "--source",
        metavar="NAME|TOML",
        help="whose class codes these are: a known source's name or a TOML table; else our class names",
    )
    action.add_argument(
        "--taxonomy",
        metavar="NAME|FILE",
        help="class names that the codes may mean beside ours; the report counts cells of classes it has not",
    )
    action.add_argument("--columns", metavar="OURS=THEIRS,...", type=column_map, help="csv: which column is which")
    action.add_argument("--patients", metavar="CSV", help="table of file, patient_id and, if known, smear_id, center")
    action.add_argument(
        "--attributes", metavar="CSV", help="table of picture names and, a column each, what else is said of its cell"
    )
    action.add_argument("--specimen", choices=("blood", "marrow"), help="default: the source's own, else blood")
    action.set_defaults(run=run)


def column_map(text: str) -> dict[str, str]:
    """{our column: theirs} of "image=Picture,label=Type" (an argparse type)."""
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError(text)
    return {ours.strip(): theirs.strip() for ours, theirs in pairs}


column_map.__name__ = "column map (image=Picture,label=Type)"


def run(args: argparse.Namespace) -> None:
    """Import, then say what came in and what did not."""
    from leukoscope.dataset.importer import import_dataset

    report = import_dataset(
        args.format,
        args.src,
        args.out,
        source=args.source,
        taxonomy=args.taxonomy,
        columns=args.columns,
        patients=args.patients,
        attributes=args.attributes,
        specimen=args.specimen,
    )
    print(f"{report.name}: {report.n_fields} fields, {report.n_cells} cells, {report.n_patients} patients stated")
    for title, counts in (("classes", report.cells_by_class), ("splits", report.fields_by_split)):
        print(f"  {title}: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    if report.n_with_attributes:
        print(f"  cells with attributes: {report.n_with_attributes}")
    left_out = len(report.images_without_annotation) + len(report.annotations_without_image)
    actions = Counter(issue.action for issue in report.issues)
    said = ", ".join(f"{n} {action}" for action, n in sorted(actions.items())) or "none"
    print(f"  boxes and pictures to note: {said}; left out without a partner: {left_out}")
    print(f"  annotated objects: {report.n_objects} in the source, {report.n_dropped} of them dropped")
    print(f"manifest: {args.out} (what was dropped and why: import-report.json)")

"""`leukoscope dataset import`: annotated photographs of another format into a Leukoscope data set."""

import argparse
from collections import Counter

from leukoscope.cli.options import add_command
from leukoscope.dataset.formats import readable, unaliased

EXAMPLE = """\
examples:
  leukoscope dataset import voc BCCD/ --out sets/bccd --source bccd
  leukoscope dataset import yolo pbc/ --out sets/pbc --source pbc --attributes pbc/attributes.csv
  leukoscope dataset import folders my_cells/ --out sets/mine --patients patients.csv
  leukoscope dataset import cvat task_7/ --out sets/ours --source pcm --taxonomy pcm-9
  leukoscope dataset import csv lab/ --out sets/lab --source lab.toml --columns image=Picture,label=Type

Pictures are referred to, not copied. Every box or picture that was dropped or repaired is listed in import-report.json.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    action = add_command(actions, "import", "import an annotated data set from another format", EXAMPLE, run)
    action.add_argument("format", metavar="FORMAT", type=unaliased, choices=readable(), help=", ".join(readable()))
    action.add_argument("src", metavar="SRC", help="the data set's folder or its .zip, as exported or published")
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
    action.add_argument(
        "--coordinates", choices=("pixels", "relative"), help="boxes are px (default) or shares of the picture"
    )
    action.add_argument(
        "--code-attribute", metavar="NAME", help="the attribute of each object that holds its class, not its label"
    )
    action.add_argument(
        "--keep-predictions", action="store_true", help="take a model's objects for truth; else they are left out"
    )
    action.add_argument("--replace", action="store_true", help="write over a data set that stands in DIR")
    action.add_argument("--specimen", choices=("blood", "marrow"), help="default: the source's own, else blood")


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
        stated={k: v for k in ("coordinates", "code_attribute") if (v := getattr(args, k)) is not None},
        replace_set=args.replace,
        keep_predictions=args.keep_predictions,
    )
    print(f"{report.name}: {report.n_fields} fields, {report.n_cells} cells, {report.n_patients} patients stated")
    for title, counts in (("classes", report.cells_by_class), ("splits", report.fields_by_split)):
        print(f"  {title}: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    if report.n_with_attributes:
        print(f"  cells with attributes: {report.n_with_attributes}")
    if report.n_without_cells:
        print(f"  pictures without a cell: {report.n_without_cells} (somebody looked and found none)")
    for n, what in (
        (len(report.images_without_annotation), "nobody annotated"),
        (len(report.annotations_without_image), "named by an annotation and not here"),
        (len(report.images_that_lost_all), "all of whose objects were dropped"),
    ):
        if n:
            print(f"  pictures left out: {n} {what}")
    print(f"  annotated objects: {report.n_objects} in the source, {report.n_dropped} of them dropped")
    actions = Counter(issue.action for issue in report.issues)
    if actions:
        said = ", ".join(f"{n} lines {action}" for action, n in sorted(actions.items()))
        print(f"  to note: {said}; the commonest:")
    for action, reason, n in report.commonest():
        print(f"    {action}: {reason} ({n})")
    print(f"manifest: {args.out} (what was dropped and why: import-report.json)")

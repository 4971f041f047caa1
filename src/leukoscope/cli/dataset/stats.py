"""`leukoscope dataset stats`: a set in numbers, and its data sheet."""

import argparse

from leukoscope.cli.options import add_command, add_dataset, whole
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
examples:
  leukoscope dataset stats sets/bccd
  leukoscope dataset stats sets/bccd --html stats.html --json stats.json --datasheet datasheet.md

The data sheet (Gebru et al. 2021) is filled in from the manifest; what only people know is a clear blank in it.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    parser = add_command(actions, "stats", "count a set by class, split, centre and patient", EXAMPLE, run)
    add_dataset(parser)
    parser.add_argument("--html", metavar="FILE", help="write a page with tables, charts and the data sheet")
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--datasheet", metavar="FILE", help="write the data sheet as Markdown into a new file")
    parser.add_argument(
        "--pictures",
        metavar="N",
        type=whole,
        help="open at most N photographs of a centre for stain and focus (default: 300; 0: none)",
    )


def run(args: argparse.Namespace) -> None:
    """Count, write what was asked for, then print Tables 2 and 3."""
    from leukoscope.checks.datasheet import read_import_report, sheet_sections, write_datasheet
    from leukoscope.checks.stats import QUALITY_PER_CENTER, dataset_stats, stats_lines, write_stats

    per_center = QUALITY_PER_CENTER if args.pictures is None else args.pictures
    with progress_bar("photographs") as progress:
        stats = dataset_stats(args.dir, quality_per_center=per_center, progress=progress)
    report = read_import_report(args.dir)
    written = []
    if args.datasheet:
        write_datasheet(stats, args.datasheet, import_report=report)
        written.append(f"data sheet: {args.datasheet}")
    if args.json:
        write_stats(stats, args.json)
        written.append(f"numbers: {args.json}")
    if args.html:
        from leukoscope.checks.stats_html import write_stats_page

        write_stats_page(stats, args.html, sheet=sheet_sections(stats, import_report=report))
        written.append(f"page: {args.html}")
    print("\n".join(stats_lines(stats)))
    if written:
        print("; ".join(written))

"""`leukoscope export`: a record in the formats of other systems."""

import argparse
from pathlib import Path

from leukoscope.cli.options import add_command, add_deidentify
from leukoscope.cli.progress import progress_bar
from leukoscope.exchange.formats import FORMATS, format_names

EXAMPLE = """\
examples:
  leukoscope export report/ --to fhir --out handover
  leukoscope export report/ --to geojson xlsx --gzip --out handover
  leukoscope export report/ --to report record csv --deidentify --key ../key.json --out for-colleagues
  leukoscope export leukoscope-abc-v1.json --to fhir --out handover

RECORD is a run's folder, a record.json, or a signed record (JSON) from the reading room. Each format has a folder of
its own in DIR, with index.csv: which file is of which patient and photograph. docs/exchange.md says what is in each.
Research use only. Not for diagnosis. A morphologist must review.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    summary = "write records as FHIR, DICOM, GeoJSON or tables, for other systems"
    parser = add_command(commands, "export", summary, EXAMPLE, run)
    parser.add_argument(
        "records", metavar="RECORD", nargs="+", help="a run's folder, a record.json, or a signed record"
    )
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        nargs="+",
        required=True,
        choices=format_names(),
        help="; ".join(f"{f.name}: {f.writes}" for f in FORMATS),
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the folders of the formats")
    parser.add_argument("--gzip", action="store_true", help="geojson: write .geojson.gz, which QuPath reads too")
    parser.add_argument(
        "--patient-system",
        metavar="URI",
        help="fhir: the name space that your patient ids are of, as the hospital has it",
    )
    parser.add_argument(
        "--photographs",
        metavar="DIR",
        help="dicom, report: where photographs are that are not where the record has them",
    )
    add_deidentify(parser)


def run(args: argparse.Namespace) -> None:
    """Export, then say what lies where."""
    from leukoscope.exchange.export import export_records
    from leukoscope.exchange.formats import Wishes

    wishes = Wishes(
        gzip=args.gzip,
        patient_system=args.patient_system,
        photographs=None if args.photographs is None else Path(args.photographs),
        deidentify=args.deidentify,
        key=None if args.key is None else Path(args.key),
    )
    with progress_bar("writing files") as progress:
        written = export_records(args.records, args.to, Path(args.out), wishes=wishes, progress=progress)
    for done in written:
        cells = f", {done.n_cells:,} cells" if done.n_cells else ""
        print(f"{done.format}: {done.n_files:,} files of {done.n_patients:,} patients{cells} in {done.folder}")
        for note in done.notes:
            print(f"  note: {note}")

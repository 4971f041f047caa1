"""`leukoscope analyze`: photographs in, record.json, cells.csv and report.html out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from leukoscope.cli.options import add_command, at_least_one, positive, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError
from leukoscope.models.devices import DEVICES

if TYPE_CHECKING:
    from leukoscope.entries import EstimateEntry, FieldEntry, PatientEntry

FAILED_SHOWN = 3

EXAMPLE = """\
examples:
  leukoscope analyze photographs/ --out report
  leukoscope analyze ward/*.jpg --out report --patients patients.csv --um-per-px 0.1
  leukoscope analyze slide.svs --out report

A patient is a folder of photographs, or what patients.csv says: columns file (relative to the table or to PATH),
patient_id and, if known, smear_id, center, and of the patient age_years, sex, leukocytes_per_nl (10^9 a litre).
Research use only. Not for diagnosis. A morphologist must review.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    summary = "analyse smear photographs or whole slides and write a patient report"
    parser = add_command(commands, "analyze", summary, EXAMPLE, run, aliases=("analyse",))
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="photographs, slides, or folders of them, or addresses (s3://…)"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the report, or an address (s3://…)")
    parser.add_argument("--model", metavar="NAME|DIR", help="a bundled model's name, or a model folder")
    parser.add_argument(
        "--specimen", choices=("blood", "marrow"), default="blood", help="default: blood; it says which bundled model"
    )
    parser.add_argument("--patients", metavar="CSV", help="table of whose each photograph is (see below)")
    parser.add_argument("--um-per-px", metavar="X", type=positive, help="micrometres a pixel, where known")
    parser.add_argument(
        "--min-cells",
        metavar="N",
        type=whole,
        help="flag patients with fewer counted cells and print no band (default: 200 in blood, 500 in marrow)",
    )
    parser.add_argument("--locator", metavar="NAME|DIR", help="take the locator of this model instead of --model's own")
    parser.add_argument(
        "--segmenter",
        metavar="RUN",
        help="find and outline cells with this run of task segment (YOLO11-seg, extra yolo) instead of a locator",
    )
    parser.add_argument(
        "--tile-px",
        metavar="N",
        type=whole,
        help="cut longer photographs into tiles of this side (default: the locator's own)",
    )
    parser.add_argument(
        "--own-cells",
        metavar="JSON",
        help="metrics.json of `leukoscope evaluate` on labelled cells of your laboratory: corrects the ratios for it",
    )
    parser.add_argument(
        "--workers", metavar="N", type=at_least_one, help="photographs at a time (default: one a core, at most 8)"
    )
    parser.add_argument(
        "--whole", action="store_true", help="of slides count everything, not only the monolayer (see docs/slides.md)"
    )
    parser.add_argument(
        "--engine",
        choices=("threads", "ray"),
        default="threads",
        help="who analyses: this process (default), or Ray's workers on this machine or a cluster (extra ray)",
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster, with --engine ray")
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="where the models run (default: cpu; see docs/how-to/faster.md); falls back to the processor",
    )
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def run(args: argparse.Namespace) -> None:
    """Analyse, then say in a few lines with which models, what was found and where the report is."""
    from leukoscope.dataset.spreadsheet import shown
    from leukoscope.exchange.text import one_line
    from leukoscope.models.devices import choose_device
    from leukoscope.pipeline import AnalyzeOptions, analyze
    from leukoscope.pipeline.sources import unknown_columns
    from leukoscope.report.record import read_record

    device = choose_device(args.device)
    if device.note is not None:
        print(f"note: {device.note}", file=sys.stderr)
    options = AnalyzeOptions(
        locator=args.locator,
        specimen=args.specimen,
        um_per_px=args.um_per_px,
        min_cells=args.min_cells,
        tile_px=args.tile_px,
        own_cells=args.own_cells,
        workers=args.workers,
        whole=args.whole,
        engine=args.engine,
        address=args.address,
        device=device.name,
    )
    segmenter = None
    if args.segmenter is not None:
        from leukoscope.train.outliner.yolo_seg import open_segmenter

        segmenter = open_segmenter(args.segmenter)
    with progress_bar("photographs or parts of slides") as progress:
        path = analyze(
            args.paths,
            args.out,
            model=args.model,
            patients=args.patients,
            options=options,
            segmenter=segmenter,
            resume=args.resume,
            progress=progress,
        )
    record = read_record(path)
    unread = unknown_columns(args.patients) if args.patients else []
    if unread:
        print(f"note: nothing reads the columns {shown(unread)} of {args.patients}", file=sys.stderr)
    models = ", ".join(f"{part} {m['name']}" for part, m in record.provenance["models"].items())
    why = "" if args.model else f" (the bundled {args.specimen} model: no --model was given)"
    print(f"model: {models}{why}")
    for patient in record.patients:
        print(one_line(patient_line(patient)))
    place = f"{args.out.rstrip('/')}/report.html" if "://" in args.out else path.with_name("report.html")
    print(f"report: {place} (also record.json, cells.csv and patients.csv)")
    for slide in record.slides:
        print(one_line(slide_line(slide)))
    for line in failed_lines(record.fields()):
        print(one_line(line))
    print(record.provenance["use"])
    n_fields = sum(p["n_fields"] for p in record.patients)
    if n_fields == sum(p["n_failed"] for p in record.patients):
        raise InputError(f"none of the {n_fields} photographs could be read: the report lists the reason for each")


def slide_line(slide: dict) -> str:
    """One slide of a record in one line: what was counted, and what is doubtful about its scale."""
    from leukoscope.scale import RED_CELL_UM, scale_doubt

    um_per_px, red_px = slide["um_per_px"], slide["red_cell_px"]
    counted = f"{slide['mm2'].get('M', 0):g} of {sum(slide['mm2'].values()):g} mm² counted"
    line = f"slide {slide['file']}: {counted} in {slide['n_regions']} regions"
    if um_per_px is None:
        return f"{line}; the file states no µm a pixel"
    if scale_doubt(um_per_px, um_per_px=um_per_px, red_px=red_px) is None:
        return line
    wide = f"red cells would be {um_per_px * red_px:.1f} µm wide, not about {RED_CELL_UM:g}"
    return f"{line}; warning: with the file's {um_per_px:g} µm a pixel {wide}: check it (--um-per-px)"


def failed_lines(fields: Iterable[FieldEntry]) -> list[str]:
    """The first three photographs that could not be read, each with the reason and what to do, and how many more."""
    from leukoscope.report.words import reason_words

    lines: list[str] = []
    n_more = 0
    for field in fields:
        if field["status"] == "failed" and len(lines) < FAILED_SHOWN:
            why = field.get("detail") or reason_words(field["reason"])
            lines.append(f"not read: {field['file']} ({field['reason']}): {why}")
        else:
            n_more += field["status"] == "failed"
    return [*lines, *([f"not read: {n_more} more; the report lists all"] if n_more else [])]


def _points(estimate: EstimateEntry) -> str:
    """ "12.0 % (6.4 to 20.0 %)"; "" where there is no number."""
    numbers = [f"{100 * v:.1f}" for v in (estimate["value"], estimate["low"], estimate["high"]) if v is not None]
    return f"{numbers[0]} % ({numbers[1]} to {numbers[2]} %)" if len(numbers) == 3 else ""


def patient_line(patient: PatientEntry) -> str:
    """One patient of a record in one line: cells, ratios with their limits, what is flagged."""
    what = "leukocytes" if patient["denominator"] == "leukocytes" else "cells"
    words = [f"{patient['n_counted']} {what} counted in {patient['n_fields']} photographs"]
    if patient["n_nucleated_red"] and what == "leukocytes":
        words.append(f"{patient['n_nucleated_red']} nucleated red cells beside")
    if patient["n_failed"]:
        words.append(f"{patient['n_failed']} could not be read")
    for ratio in patient["ratios"]:
        if points := _points(ratio):
            words.append(f"{ratio['name'].replace('_', ' ')} {points}")
            if (corrected := ratio.get("corrected")) and (points := _points(corrected)):
                words.append(f"corrected for the classifier's errors {points}")
    words += [flag["code"] for flag in patient["flags"]]
    return f"{patient['patient_id']}: {'; '.join(words)}"

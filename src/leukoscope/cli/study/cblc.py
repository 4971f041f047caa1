"""`leukoscope study cblc`: from the cells of marrow smears to a patient's ratio, with the evidence beside it."""

import argparse
import importlib.util

from leukoscope.cli.options import add_command
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
example:
  leukoscope simulate --out cohort --specimen marrow --patients 60 --centers 6 --seed 1
  leukoscope study cblc --data cohort --develop center-1 center-2 center-3 --validate center-4 center-5 center-6 \\
      --config configs/cblc-small --out study
  leukoscope analyze photographs --model study/bundle --specimen marrow --um-per-px 0.1 --out report

Writes study.html, tables/*.csv, figures/, preregistration.json, three checklists and bundle/. Every cell needs its
contour, every photograph its patient and centre. Stopped? The same command with --resume goes on.
docs/studies/cblc.md explains the tables.

Needs the extra: pip install 'leukoscope[study]'
"""
NEEDED = ("torch", "matplotlib", "skimage", "scipy", "shapely")


def add_to(studies: argparse._SubParsersAction) -> None:
    """Declare the study."""
    parser = add_command(
        studies, "cblc", "the marrow pipeline (CBLC): cells, ratios, patients, by centre", EXAMPLE, run
    )
    parser.add_argument("--data", metavar="DIR", required=True, help="a data set folder with contours and patients")
    parser.add_argument(
        "--develop", metavar="CENTER", nargs="+", required=True, help="centres to train on and to fix thresholds on"
    )
    parser.add_argument(
        "--validate", metavar="CENTER", nargs="+", required=True, help="centres that nothing is trained or chosen on"
    )
    parser.add_argument(
        "--config", metavar="DIR", required=True, help="a folder with study.toml, as configs/cblc-small"
    )
    parser.add_argument("--out", metavar="OUT", required=True, help="folder for the page, tables, figures and bundle")
    parser.add_argument(
        "--diagnosis",
        metavar="CSV",
        help="columns patient_id and diagnosis (AML or not-AML), and center where ids repeat (default: the set's own "
        "patients.csv)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where a stopped study left off")
    parser.add_argument(
        "--register", action="store_true", help="stop when preregistration.json is written, before any number of the "
        "validation centres: deposit it, then go on with --resume",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the study, say each step and where the page is."""
    missing = [m for m in NEEDED if importlib.util.find_spec(m) is None]
    if missing:
        raise InputError(f"the study needs {', '.join(missing)}: pip install 'leukoscope[study]'")
    from pathlib import Path

    from leukoscope.experiments.cblc.result import StudyOptions
    from leukoscope.experiments.cblc.study import run_study

    options = StudyOptions(
        data=Path(args.data),
        develop=tuple(args.develop),
        validate=tuple(args.validate),
        config=Path(args.config),
        out=Path(args.out),
        diagnosis=Path(args.diagnosis) if args.diagnosis else None,
        resume=args.resume,
        register_only=args.register,
    )
    with progress_bar("study") as progress:
        page = run_study(options, say=lambda words: print(words, flush=True), progress=progress)
    print(f"{'registered' if args.register else 'study'}: {page}")

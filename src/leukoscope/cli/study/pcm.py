"""`leukoscope study pcm`: every system of the PCM-Leukemia paper on the data sets given."""

import argparse
import importlib.util

from leukoscope.cli.options import add_command
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError
from leukoscope.progress import for_stages

EXAMPLE = """\
examples:
  leukoscope study pcm --data sets/pcm --external sets/allidb --target sets/munich --config configs/pcm --out study
  leukoscope study pcm --data sets/mine --config configs/pcm-small --out study --only efficientnet-lite0

Writes study.html, tables/*.csv (the paper's Tables 2 to 7 and more), figures/ and rows/. A finished row is not run
again; a row that fails, or whose extra is not installed, says so in its table and the others go on.
Exit code: 0 done, 1 when a row failed, 2 when the study could not begin. docs/studies/pcm.md explains the tables.
"""
NEEDED = ("torch", "transformers", "matplotlib")


def add_to(studies: argparse._SubParsersAction) -> None:
    """Declare the study."""
    parser = add_command(studies, "pcm", "detection, classification and adaptation after PCM-Leukemia", EXAMPLE, run)
    parser.add_argument("--data", metavar="DIR", required=True, help="the set that is trained and tested on")
    parser.add_argument(
        "--external", metavar="DIR", action="append", default=[], help="a set that is tested whole; may be repeated"
    )
    parser.add_argument("--target", metavar="DIR", help="another laboratory's set: zero-shot and adaptation")
    parser.add_argument("--config", metavar="DIR", required=True, help="a folder with study.toml, as configs/pcm-small")
    parser.add_argument("--out", metavar="OUT", required=True, help="folder for the page, tables, figures and rows")
    parser.add_argument(
        "--only", metavar="ROW", action="append", default=[], help="run this row and what it builds on; may be repeated"
    )
    parser.add_argument("--resume", action="store_true", help="unfinished rows go on from their checkpoints")


def run(args: argparse.Namespace) -> None:
    """Run the study, say how each row ended and where the page is; exit code 1 where a row failed."""
    missing = [m for m in NEEDED if importlib.util.find_spec(m) is None]
    if missing:
        raise InputError(f"the study needs {', '.join(missing)}: pip install 'leukoscope[study]'")
    from leukoscope.experiments.pcm.data import Folders
    from leukoscope.experiments.pcm.study import run_study

    with progress_bar("study") as progress:
        study = run_study(
            args.config, Folders(args.data, tuple(args.external), args.target), args.out, only=args.only,
            resume=args.resume, progress=for_stages(progress), say=print,
        )  # fmt: skip
    print(f"study: {study.page}")
    failed = [name for name, row in study.rows.items() if row.status == "failed"]
    if failed:
        print(f"failed: {', '.join(failed)} (rows/NAME/error.txt; the same command runs them again)")
        raise SystemExit(1)

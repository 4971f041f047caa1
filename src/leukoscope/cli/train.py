"""`leukoscope train`: train a model and write its bundle. Needs the extra: pip install 'leukoscope[train]'."""

import argparse
import importlib.util
from pathlib import Path

from leukoscope.cli.options import add_command
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
example:
  leukoscope train configs/classifier.toml --data sets/pbc sets/cnmc --out runs/classifier
  (stopped? the same command with --resume goes on from the last checkpoint)

Needs torch: pip install 'leukoscope[train]'
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "train", "train a locator or a classifier on annotated data", EXAMPLE, run)
    parser.add_argument(
        "config", metavar="CONFIG.toml", help="what to train and how: one TOML file, an unknown key is an error"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        nargs="+",
        action="extend",
        required=True,
        help="data set folders made by `dataset import`",
    )
    parser.add_argument(
        "--out", metavar="RUN", required=True, help="folder for checkpoints, the log and the finished bundle"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")


def run(args: argparse.Namespace) -> None:
    """Train, then say where the result is."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("training needs torch, which is not installed: pip install 'leukoscope[train]'")
    from leukoscope.train.run import train

    with progress_bar("training") as progress:
        folder = train(args.config, args.data, args.out, resume=args.resume, progress=progress)
    print(f"trained: {folder}")
    for line in next_commands(folder):
        print(line)


def next_commands(run: Path) -> list[str]:
    """What to type next, with the folder that was just written; nothing for a network without a bundle."""
    import shlex

    from leukoscope.models.bundle import find_model

    if not (run / "bundle" / "card.json").is_file():
        return []
    (task,) = find_model(run)
    folder = shlex.quote(str(run))
    analyze = {
        "locate": f"--locator {folder}",
        "classify": f"--model {folder} --locator blood",
        "detect": f"--model {folder}",
    }.get(task)
    lines = [f"next: leukoscope evaluate {folder} --data DATA --split test --out results"]
    return lines + ([f"or:   leukoscope analyze photographs/ --out report {analyze}"] if analyze else [])

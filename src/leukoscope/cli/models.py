"""`leukoscope models`: what is bundled, and what a model's card says."""

import argparse
import importlib.util

from leukoscope.cli.options import add_command
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope models
  leukoscope models show blood
  leukoscope models show runs/classifier/bundle
  leukoscope models quantise blood --data sets/pbc sets/bccd --out models/blood-int8
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command; without `show` it lists the bundled models."""
    parser = add_command(commands, "models", "list the bundled models, or show a model's card", EXAMPLE, list_models)
    actions = parser.add_subparsers(title="actions", metavar="[show | quantise]")
    show = add_command(
        actions, "show", "show a model's card: training data, measured results, limits", EXAMPLE, show_model
    )
    show.add_argument("model", metavar="NAME|DIR", help="a bundled model's name, or a model folder")
    quantise = add_command(
        actions, "quantise", "write a model in eight bits: faster, and what that costs", EXAMPLE, quantise_model
    )
    quantise.add_argument("model", metavar="NAME|DIR", help="a bundled model's name, or a model folder")
    quantise.add_argument(
        "--data", metavar="DIR", nargs="+", required=True, help="data sets with splits train and val (`dataset split`)"
    )
    quantise.add_argument("--out", metavar="DIR", required=True, help="new folder for the quantised model")
    quantise.add_argument(
        "--only", nargs="+", choices=("locate", "classify"), default=("locate", "classify"), help="default: both"
    )


def list_models(args: argparse.Namespace) -> None:
    """One line a bundled model and task."""
    from leukoscope.models.bundle import bundled_names, find_model

    names = bundled_names()
    for name in names:
        for task, bundle in sorted(find_model(name).items()):
            print(f"{name}  {task}  {bundle.card.name}  {bundle.card.onnx_sha256[:12]}  {bundle.card.description}")
    if not names:
        print("no bundled models in this installation; give --model a folder")


def show_model(args: argparse.Namespace) -> None:
    """The cards, as text that also reads as Markdown."""
    from leukoscope.models.bundle import find_model
    from leukoscope.models.card_text import card_text

    print("\n".join(card_text(bundle.card) for _, bundle in sorted(find_model(args.model).items(), reverse=True)))


def quantise_model(args: argparse.Namespace) -> None:
    """Quantise, and say what it costs."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        raise InputError("quantising needs torch and onnx, which are not installed: pip install 'leukoscope[train]'")
    from leukoscope.train.quantise import quantise_model as quantise

    quantise(args.model, args.data, args.out, only=args.only, say=print)
    print(f"model: {args.out} (use it with --model; its cards say what was lost)")

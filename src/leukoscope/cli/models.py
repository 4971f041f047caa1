"""`leukoscope models`: what is bundled, and what a model's card says."""

from __future__ import annotations

import argparse

from leukoscope.cli.options import add_command

EXAMPLE = """\
examples:
  leukoscope models
  leukoscope models show blood
  leukoscope models show runs/classifier/bundle
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command; without `show` it lists the bundled models."""
    parser = add_command(commands, "models", "list the bundled models, or show a model's card", EXAMPLE)
    parser.set_defaults(run=list_models)
    actions = parser.add_subparsers(title="actions", metavar="[show]")
    show = add_command(actions, "show", "show a model's card: training data, measured results, limits", EXAMPLE)
    show.add_argument("model", metavar="NAME|DIR", help="a bundled model's name, or a model folder")
    show.set_defaults(run=show_model)


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

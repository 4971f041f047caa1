"""`leukoscope dataset`: each action is one file here that parses, calls one library function and prints."""

import argparse

from leukoscope.cli.dataset import audit, classes, crops, deidentify, export, import_, split, stats, suspects
from leukoscope.cli.options import add_command

# One line an action, in the order of the help; each module has `add_to(actions)` and `run(args)`.
ACTIONS = (
    import_,
    classes,
    export,
    deidentify,
    split,
    suspects,
    stats,
    crops,
    audit,
)  # fmt: skip

EXAMPLE = """\
examples:
  leukoscope dataset import voc BCCD/ --out sets/bccd --source bccd
  leukoscope dataset export cvat sets/bccd --out bccd_cvat

Each action has its own help: leukoscope dataset import --help
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command and its actions."""
    parser = add_command(commands, "dataset", "import, check and describe annotated data sets", EXAMPLE)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for action in ACTIONS:
        action.add_to(actions)

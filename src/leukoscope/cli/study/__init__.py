"""`leukoscope study`: each study is one file here that parses, calls one library function and prints."""

import argparse

from leukoscope.cli.options import add_command
from leukoscope.cli.study import cblc, pcm

# In the order of the help; each module has `add_to(studies)` and `run(args)`.
STUDIES = (pcm, cblc)

EXAMPLE = """\
examples:
  leukoscope study pcm --data sets/pcm --external sets/allidb --target sets/munich --config configs/pcm --out study
  leukoscope study pcm --data sets/mine --config configs/pcm-small --out study --resume
  leukoscope study cblc --data cohort --develop center-1 --validate center-2 --config configs/cblc-small --out study

Needs the extra: pip install 'leukoscope[study]'
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command and its studies."""
    parser = add_command(commands, "study", "run a paper's study on your own data", EXAMPLE)
    studies = parser.add_subparsers(title="studies", metavar="STUDY", required=True)
    for study in STUDIES:
        study.add_to(studies)

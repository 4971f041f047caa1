"""`leukoscope doctor`: what is installed, what each extra would add, which accelerator, where the models lie."""

import argparse

from leukoscope.cli.options import add_command
from leukoscope.errors import ModelError

EXAMPLE = """\
example:
  leukoscope doctor

A line that begins with "-" is an extra that is not installed; one with "!" is broken, and the exit code is then 2.
"""
_MARKS = {True: " ", None: "-", False: "!"}


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    add_command(commands, "doctor", "say what is installed, what is missing, where the models lie", EXAMPLE, run)


def run(args: argparse.Namespace) -> None:
    """Print what was found; ModelError where the default install does not work."""
    from leukoscope.doctor import examine

    findings = examine()
    width = max(len(f.topic) for f in findings)
    for finding in findings:
        print(f"{_MARKS[finding.ok]} {finding.topic.ljust(width)}  {finding.text}")
    broken = [f.topic for f in findings if f.ok is False]
    if broken:
        raise ModelError(f"this installation does not work: see {', '.join(broken)} above")

"""What every command's parser shares."""

import argparse
from collections.abc import Callable


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    summary: str,
    example: str,
    run: Callable[[argparse.Namespace], None] | None = None,
    *,
    aliases: tuple[str, ...] = (),
) -> argparse.ArgumentParser:
    """A command's parser: its summary in the list of commands and in its own help, its example at the end. run: what it
    does, None for a group of commands."""
    parser = commands.add_parser(
        name,
        aliases=aliases,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """The data set that an action is about."""
    parser.add_argument("dir", metavar="DIR", help="a data set folder made by `dataset import`")


def add_deidentify(parser: argparse.ArgumentParser) -> None:
    """The options of whatever can be handed on without names."""
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="pseudonyms for patients, smears, centres, photographs and readers; no dates; pictures hold pixels only",
    )
    add_key(parser)


def add_key(parser: argparse.ArgumentParser) -> None:
    """Where the key of pseudonyms is kept."""
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="keep the key of the pseudonyms in FILE, outside what you hand on: the same names get the same pseudonyms "
        "again, and FILE says who is who (default: no key is kept, and nobody can tell)",
    )


def positive(text: str) -> float:
    """A number above 0 (an argparse type); a decimal comma is a decimal point."""
    value = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """A whole number, 0 or more (an argparse type)."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def at_least_one(text: str) -> int:
    """A whole number, 1 or more (an argparse type)."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


positive.__name__ = "positive number"
whole.__name__ = "whole number"
at_least_one.__name__ = "whole number, 1 or more"

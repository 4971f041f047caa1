"""`leukoscope dataset classes`: the class names, and what a set's codes mean."""

import argparse

from leukoscope.cli.dataset.import_ import column_map
from leukoscope.cli.options import add_command
from leukoscope.dataset.formats import readable, unaliased
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope dataset classes
  leukoscope dataset classes --source pbc
  leukoscope dataset classes cvat task_7/ --toml ours.toml

Alone: every class name, with what it means. With a source: its codes. With a set: its codes and what they may mean;
--toml writes a table for dataset import --source.

Codes that nobody knows stand in the table as comments: say which class each is, and take away the #.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    action = add_command(actions, "classes", "list class names and a set's codes, write a table of them", EXAMPLE, run)
    action.add_argument(
        "format", metavar="FORMAT", type=unaliased, nargs="?", choices=readable(), help=", ".join(readable())
    )
    action.add_argument("src", metavar="SRC", nargs="?", help="the data set's folder")
    action.add_argument("--source", metavar="NAME|TOML", help="a known source, or a table that knows some of the codes")
    action.add_argument("--columns", metavar="OURS=THEIRS,...", type=column_map, help="csv: which column is which")
    action.add_argument("--code-attribute", metavar="NAME", help="the attribute of each object that holds its class")
    action.add_argument("--toml", metavar="FILE", help="write a table for dataset import --source into a new file")


def run(args: argparse.Namespace) -> None:
    """List the vocabulary, a source, or a set."""
    if args.format is None:
        if args.toml:
            raise InputError("--toml writes a table of a set's codes: name its FORMAT and SRC")
        _list_names(args.source)
        return
    if args.src is None:
        raise InputError(f"the {args.format} set's folder is missing: leukoscope dataset classes {args.format} SRC")
    from leukoscope.dataset.class_list import list_codes, write_source

    rows = list_codes(
        args.format, args.src, source=args.source, columns=args.columns, code_attribute=args.code_attribute
    )
    width = max((len(row.code) for row in rows), default=0)
    print(f"{args.src}: {len(rows)} codes of {sum(row.n for row in rows)} objects")
    for row in rows:
        said = row.class_name or ("unknown; perhaps " + " or ".join(row.perhaps) if row.perhaps else "unknown")
        print(f"  {row.code:{width}}  {row.n:>7}  {said}  (first in {row.first})")
    if args.toml:
        n_open = write_source(rows, args.toml)
        todo = f"{n_open} codes in it need their class, see its comments" if n_open else "ready"
        print(f"table: {args.toml} ({todo})")


def _list_names(source: str | None) -> None:
    from leukoscope.dataset.sources import SOURCES, read_source
    from leukoscope.taxonomy import TAXONOMIES, VOCABULARY

    if source is not None:
        codes = read_source(source).codes
        width = max(map(len, codes), default=0)
        for code, (name, wording) in codes.items():
            print(f"  {code:{width}}  {name}  ({wording})")
        return
    width = max(map(len, VOCABULARY))
    for name, meaning in VOCABULARY.items():
        print(f"  {name:{width}}  {meaning}")
    print(f"sources whose codes are known: {', '.join(SOURCES)}")
    print(f"taxonomies: {', '.join(TAXONOMIES)}")

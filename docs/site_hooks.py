"""Pages of the documentation site that are made from the code: commands, classes, the lists of cards and decisions.

MkDocs calls `on_files` before it reads the pages. Nothing that is made here is committed, so nothing can drift.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
TASKS = (
    ("classify", "classifier.config", "ClassifierConfig"),
    ("join", "classifier.join", "JoinConfig"),
    ("finetune", "crops.config", "FinetuneConfig"),
    ("locate", "locator.config", "LocatorConfig"),
    ("outline", "outliner.config", "OutlinerConfig"),
    ("detect", "detector.config", "DetectorConfig"),
    ("segment", "outliner.yolo_seg", "YoloSegConfig"),
)


def on_files(files, config):
    """Add the made pages."""
    from mkdocs.structure.files import File

    made = {
        "reference/cli.md": cli_page(),
        "reference/classes.md": classes_page(),
        "reference/training.md": training_page(),
        "model-cards/index.md": list_page("Model cards", DOCS / "model-cards"),
        "decisions/index.md": list_page("Decisions", DOCS / "decisions"),
    }
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def cli_page() -> str:
    """Every command with every option, from the parsers themselves."""
    from leukoscope.cli import build_parser

    parts = ["# Commands\n\nMade from the parsers: `leukoscope COMMAND --help` says the same.\n"]
    for name, parser in _commands(build_parser(), "leukoscope"):
        parts.append(f"## `{name}`\n\n{parser.description or ''}\n")
        rows = [_option(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        rows = [row for row in rows if row]
        if rows:
            parts.append("| argument | what |\n|---|---|\n" + "\n".join(rows) + "\n")
        if parser.epilog:
            parts.append(f"```text\n{parser.epilog.strip()}\n```\n")
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands below a parser that do something, each once, whatever its other spellings."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, below in {id(p): (w, p) for w, p in reversed(group.choices.items())}.values():
            yield from _commands(below, f"{name} {word}")


def _option(action: argparse.Action) -> str:
    """A row of the table; "" for what is only a group of commands."""
    if isinstance(action, (argparse._SubParsersAction, argparse._VersionAction)):
        return ""
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if action.choices:
        value = "|".join(map(str, action.choices))
    names = ", ".join(action.option_strings)
    shown = f"{names} {value}".strip() if names else str(value)
    needed = " (needed)" if action.required and names else ""
    text = (action.help or "").replace("|", "\\|").replace("%%", "%")
    return f"| `{shown}`{needed} | {text} |".replace("`" + shown + "`", "`" + shown.replace("|", "\\|") + "`")


def training_page() -> str:
    """Every task of `train` with every key, from the settings' classes themselves. Needs torch."""
    parts = ["# Tasks and keys of `train`\n\nA key without a default is needed. An unknown key is an error.\n"]
    for task, module, name in TASKS:
        settings = getattr(importlib.import_module(f"leukoscope.train.{module}"), name)
        first, told = _docstring(settings)
        comments = _comments(settings)
        rows = [
            f"| `{f.name}` | {_default(f)} | {(told.get(f.name) or comments.get(f.name, '')).replace('|', '/')} |"
            for f in dataclasses.fields(settings)
        ]
        head = "| key | default | what |\n|---|---|---|\n"
        parts.append(f"## `task = \"{task}\"`\n\n{first}\n\n{head}" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _docstring(settings: type) -> tuple[str, dict[str, str]]:
    """The first paragraph of a class's docstring, and what its table of keys says of each."""
    told: dict[str, str] = {}
    for kind in reversed(settings.__mro__[:-1]):  # what it shares with other tasks stands in the classes above it
        lines, names = inspect.getdoc(kind).splitlines(), []
        for line in lines[1:]:
            entry = re.match(r"^([a-z_]+(?:, [a-z_]+)*) {1,}(\S.*)$", line)
            if entry and all(n in kind.__dataclass_fields__ for n in entry.group(1).split(", ")):
                names = entry.group(1).split(", ")
                told |= dict.fromkeys(names, entry.group(2))
            elif names and line.startswith(" "):
                told |= {n: f"{told[n]} {line.strip()}" for n in names}
    return lines[0].replace("<", "&lt;"), told


def _comments(settings: type) -> dict[str, str]:
    """What stands behind a key in the source."""
    found = re.findall(r"^    ([a-z_]+):.*?  # (.*)$", inspect.getsource(settings), re.MULTILINE)
    return dict(found)


def _default(of: dataclasses.Field) -> str:
    if of.default is not dataclasses.MISSING:
        return f"`{of.default!r}`"
    return "needed" if of.default_factory is dataclasses.MISSING else f"`{of.default_factory()!r}`"


def classes_page() -> str:
    """The shipped taxonomies and the names that any taxonomy may use."""
    from leukoscope.report.words import class_short, class_words
    from leukoscope.taxonomy import TAXONOMIES

    parts = ["# Classes\n\nThe taxonomies that come with Leukoscope. A TOML file of your own replaces any of them: "
             "[your own classes](../how-to/classes.md).\n"]  # fmt: skip
    for taxonomy in TAXONOMIES.values():
        cells = [(f"`{n}`", class_words(n), class_short(n), _role(taxonomy, n)) for n in taxonomy.names]
        rows = [f"| {' | '.join(row)} |" for row in cells]
        parts.append(
            f"## `{taxonomy.name}`\n\n| name | words | short | role |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _role(taxonomy, name: str) -> str:
    if name in taxonomy.blasts:
        return "counted, blast"
    if name in taxonomy.counted:
        return "counted"
    return "artefact" if name in taxonomy.artefacts else "not counted"


def list_page(title: str, folder: Path) -> str:
    """A page of links to the pages of a folder, each by its own heading."""
    pages = [(p.name, re.search(r"^# (.+)$", p.read_text("utf-8"), re.MULTILINE)) for p in sorted(folder.glob("*.md"))]
    return f"# {title}\n\n" + "\n".join(f"- [{m.group(1) if m else name}]({name})" for name, m in pages) + "\n"

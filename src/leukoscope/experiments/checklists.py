"""Reporting checklists (TRIPOD+AI, STARD-AI, CLAIM): what a run can know is filled in, the rest left open."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from leukoscope.experiments.tables import Table, texts

AUTHORS = "▢ to be written by the authors"


@dataclass(frozen=True, slots=True)
class Item:
    """One item: what it asks for, and the key of the fact that a run knows of it ("": none)."""

    number: str
    section: str
    asks: str
    fact: str


@dataclass(frozen=True, slots=True)
class Checklist:
    """A statement's items, in our own words after `source`."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]

    def filled(self, facts: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
        """Rows (item, section, what is asked for, what the run says); AUTHORS where it says nothing."""
        return [(i.number, i.section, i.asks, facts.get(i.fact, "") or AUTHORS) for i in self.items]

    def n_filled(self, facts: Mapping[str, str]) -> int:
        """How many items the run fills."""
        return sum(row[3] != AUTHORS for row in self.filled(facts))

    def table(self, facts: Mapping[str, str]) -> Table:
        """The checklist as a table for the page."""
        note = (
            f"{self.n_filled(facts)} of {len(self.items)} items are filled from this run; ▢ is for the authors. Items "
            f"in our own words, after {self.source}."
        )
        return Table(self.name, self.title, texts("Item", "Section", "Asks for", "This study"),
                     tuple(self.filled(facts)), note)  # fmt: skip

    def markdown(self, facts: Mapping[str, str], *, title: str) -> str:
        """The checklist as a Markdown table, to be filled in."""
        lines = [
            f"# {self.title}: {title}",
            "",
            f"{self.n_filled(facts)} of {len(self.items)} items are filled from this run; ▢ is for the authors.",
            f"Items in our own words, after {self.source}: read the statement for theirs.",
            "",
            "| item | section | asks for | this study |",
            "|---|---|---|---|",
        ]
        return "\n".join([*lines, *(f"| {' | '.join(_cell(v) for v in row)} |" for row in self.filled(facts))]) + "\n"


@cache
def checklists() -> tuple[Checklist, ...]:
    """Every checklist, in the file's order."""
    text = (files("leukoscope.experiments") / "checklists.toml").read_text("utf-8")
    return tuple(
        Checklist(name, part["title"], part["source"], tuple(
            Item(i["number"], i["section"], i["asks"], i.get("fact", "")) for i in part["items"]))
        for name, part in tomllib.loads(text).items()
    )  # fmt: skip


def filled_facts(file: str, words: Mapping[str, object]) -> dict[str, str]:
    """{fact: what a run says of it}, from a TOML file below `leukoscope.experiments` with `words` in its braces."""
    texts_of = tomllib.loads((files("leukoscope.experiments") / file).read_text("utf-8"))
    return {fact: text.format(**words) for fact, text in texts_of.items()}


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())

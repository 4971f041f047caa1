"""Reporting checklists and pre-registrations: what a run knows, what it does not, and what moved afterwards."""

from __future__ import annotations

import json

import pytest

from leukoscope.errors import ConfigError
from leukoscope.experiments.checklists import AUTHORS, checklists
from leukoscope.experiments.preregistration import NAME, code_digest, differences, register, words
from leukoscope.experiments.tables import table_html


def digits(number):
    return int("".join(c for c in number if c.isdigit()))


def test_every_item_of_each_statement_is_there_once():
    lists = {c.name: c for c in checklists()}
    assert list(lists) == ["tripod-ai", "stard-ai", "claim"]
    for name, last in (("tripod-ai", 27), ("stard-ai", 30), ("claim", 42)):
        numbers = [i.number for i in lists[name].items]
        assert len(set(numbers)) == len(numbers)
        assert {digits(n) for n in numbers if not n.startswith("AI")} == set(range(1, last + 1))
    assert sum(i.number.startswith("AI") for i in lists["stard-ai"].items) == 12


def test_what_a_run_can_not_know_is_visibly_left_to_the_authors():
    tripod = checklists()[0]
    rows = {number: said for number, _, _, said in tripod.filled({"data": "the set"})}
    assert rows["18e"] == "the set" and rows["17"] == rows["12c"] == AUTHORS and AUTHORS.startswith("▢")
    assert tripod.n_filled({"data": "the set"}) == 1
    assert "1 of 51 items are filled" in tripod.markdown({"data": "the set"}, title="x")
    assert "▢" in table_html(tripod.table({}))


FACTS = {"data": {"test": "abc"}, "thresholds": {"raw": 0.2}}


def test_a_registration_is_written_once_and_what_moved_is_named(tmp_path):
    first = register(tmp_path, FACTS)
    assert first["code_sha256"] == code_digest() and differences(first, FACTS) == []
    assert "are as registered" in words(first, [])
    moved = {"data": {"test": "abc"}, "thresholds": {"raw": 0.3}}
    assert register(tmp_path, moved) == first  # what stands there is not written over
    assert differences(first, moved) == ["thresholds raw: registered 0.2, now 0.3"]
    assert differences(first, FACTS | {"models": {"a": "1"}}) == ['models a: registered nothing, now "1"']
    assert "Not as registered: thresholds raw" in words(first, differences(first, moved))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: r | {"thresholds": {"raw": 0.9}}, "was changed after it was written"),
        (lambda r: r | {"preregistration_version": 9}, "this Leukoscope reads 1"),
        (lambda r: {"x": 1}, "is damaged"),
        (lambda r: [1], "is damaged"),
    ],
)
def test_a_registration_that_was_touched_is_refused(tmp_path, spoil, said):
    record = register(tmp_path, FACTS)
    (tmp_path / NAME).write_text(json.dumps(spoil(record)), "utf-8")
    with pytest.raises(ConfigError, match=said):
        register(tmp_path, FACTS)

"""Reached, missed or not told apart: the same rule for what is asked to be large and what is asked to be small."""

from __future__ import annotations

import csv

import pytest

from benchmarks.verdicts import RESULTS, judged, verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "threshold", "said"),
    [
        (0.85, 0.81, 0.9, ">= 0.8", "yes"),
        (0.85, 0.78, 0.9, ">= 0.8", "not told apart"),
        (0.78, 0.7, 0.82, ">= 0.8", "not told apart"),
        (0.7, 0.6, 0.79, ">= 0.8", "no"),
        (0.02, 0.01, 0.03, "<= 0.03", "yes"),
        (0.02, 0.01, 0.04, "<= 0.03", "not told apart"),
        (0.05, 0.02, 0.08, "<= 0.03", "not told apart"),
        (0.05, 0.04, 0.08, "<= 0.03", "no"),
        (0.9, 0.885, 0.915, "0.88 to 0.92", "yes"),
        (0.9, 0.87, 0.93, "0.88 to 0.92", "not told apart"),
        (0.8, 0.75, 0.85, "0.88 to 0.92", "no"),
        (3, None, None, "0", "no"),
        (0, None, None, "0", "yes"),
        (2.51, None, None, ">= 2.5", "yes"),
        (1e-7, None, None, "<= 1e-06", "yes"),
    ],
)
def test_a_threshold_is_reached_by_the_limit_on_its_side(value, low, high, threshold, said):
    assert verdict(value, threshold, low=low, high=high) == said


def test_turning_the_number_round_turns_nothing_else_round():
    for value, low, high in ((0.3, 0.1, 0.5), (0.6, 0.55, 0.7), (0.4, 0.2, 0.44)):
        one = verdict(value, ">= 0.45", low=low, high=high)
        assert one == verdict(-value, "<= -0.45", low=-high, high=-low)


def test_what_can_not_be_judged_keeps_its_own_verdict():
    assert judged({"value": "12 of 14", "threshold": "all", "met": "no"})["met"] == "no"
    assert judged({"value": "", "threshold": ">= 1", "met": "x"})["met"] == "x"
    with pytest.raises(ValueError, match="a threshold is"):
        verdict(1, "about 3")


def test_every_committed_verdict_is_by_the_rule():
    files = sorted(RESULTS.glob("*.csv"))
    assert len(files) > 20
    for file in files:
        with open(file, encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text):
                assert judged(row) == row, f"{file.name}: {row}: run benchmarks/verdicts.py"

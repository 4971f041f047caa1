"""Patients differ: how much is learnt from cells by patient, goes into the interval, and is never taken for none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from leukoscope.errors import DataError, ModelError
from leukoscope.quantify import (
    by_patient_for_card,
    cells_by_patient,
    confusion_for_card,
    confusion_of,
    correct_patient,
    correct_ratio,
    default_scatter,
    no_scatter,
    scatter_of,
)
from leukoscope.quantify.beta import even_shares
from leukoscope.quantify.groups import Tally
from leukoscope.quantify.scatter import DEFAULT_SD, Spread, predictive_quantiles
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential

GROUPS = np.array([0, 1])
FOUR = Taxonomy("four", ("blast", "neutrophil", "monocyte", "dirt"), ("blast", "neutrophil", "monocyte"), ("blast",))


def expit(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def patients(sd, *, n=30, cells=100, seed=0, sensitivity=0.9, false_alarm=0.05):
    """(n, 2, 2) cells by patient: half blasts, half others, each rate scattered on the logit scale."""
    rng = np.random.default_rng(seed)
    rates = [expit(math.log(p / (1 - p)) + sd * rng.standard_normal(n)) for p in (sensitivity, false_alarm)]
    hits = [rng.binomial(cells // 2, rate) for rate in rates]
    return np.stack([np.stack([h, cells // 2 - h], 1) for h in hits], 1)


def width(ratio):
    return ratio.high - ratio.low


def test_the_scatter_between_patients_is_found_again():
    for sd in (0.0, 0.5, 1.0):
        found = np.mean([np.median(scatter_of(patients(sd, seed=s), GROUPS).called[0].sds) for s in range(6)])
        assert abs(found - sd) < 0.25, (sd, found)


def test_more_scatter_gives_a_wider_interval_and_cells_that_are_worth_less():
    called, widths, worth = [120, 380], [], []
    for sd in (0.0, 0.6, 1.2):
        tables = patients(sd, seed=3)
        ratio = correct_ratio(called, tables.sum(0), subset=[0], scatter=tables)
        widths.append(width(ratio))
        worth.append(ratio.worth)
        assert ratio.n_patients == 30
    assert widths[0] < widths[1] < widths[2] and 500 > worth[0] > worth[1] > worth[2] > 5


def test_four_hundred_cells_that_scatter_nine_times_as_much_are_worth_a_ninth():
    """A share of 20 % whose variance between patients is 8 times the binomial of 400 cells: worth 400 / 9 = 44."""
    sd = math.sqrt(8 * 0.2 * 0.8 / 400) / (0.2 * 0.8)  # of the logit, from that of the share
    spreads = Spread((sd,)), Spread(()), Spread(())
    from leukoscope.quantify.scatter import Scatter

    scatter = Scatter((Spread(()),) * 3, spreads, 100)
    perfect = [[200_000, 800_000], [0, 1_000_000]]  # the numerator is found in 20 %, nothing else is called so
    ratio = correct_ratio([80, 320], perfect, subset=[0], scatter=scatter)
    assert ratio.value > 0.99 and ratio.worth == pytest.approx(400 / 9, rel=0.15)


def test_no_scatter_is_never_assumed():
    """Without cells by patient a default is taken, and said; it is wider than patients who hardly differ."""
    table = patients(0.0).sum(0)
    silent, none = (correct_ratio([100, 400], table, subset=[0], scatter=s) for s in (None, no_scatter()))
    assert (silent.n_patients, silent.scatter_sd) == (0, DEFAULT_SD) and width(silent) > 1.5 * width(none)
    assert silent.value == pytest.approx(none.value, abs=1e-9)  # the scatter widens, it doesn't move
    one = patients(0.0, n=1)
    assert scatter_of(one, GROUPS).called[0].sds == default_scatter().called[0].sds  # one patient shows no scatter


def test_a_patients_own_mix_of_classes_is_no_scatter():
    """Monocytes are called blasts in 20 %, neutrophils never: patients with many monocytes don't scatter for that."""
    rng = np.random.default_rng(1)
    tables = np.zeros((40, 4, 4), int)
    for k, monocytes in enumerate(rng.integers(5, 95, 40)):
        tables[k, 0, 0] = 50
        tables[k, 1, 1] = 100 - monocytes
        tables[k, 2] = rng.multinomial(monocytes, [0.2, 0, 0.8, 0])
    mixed = scatter_of(tables, np.array([0, 1, 1, 2])).called[1]
    lumped = scatter_of(np.stack([[t[0, :2], t[1:3].sum(0)[[0, 1]] + [0, t[1:3, 2].sum()]] for t in tables]), GROUPS)
    assert np.median(mixed.sds) < 0.5 * np.median(lumped.called[1].sds)


def test_a_new_patients_rate_is_logit_normal_about_the_average():
    """With endless validation the predictive distribution is the scatter itself (scipy)."""
    sd, mean = 0.8, 0.05
    found = predictive_quantiles(199, Tally(0.05e7, 1e7), Tally(0.0, 0.0), Spread((sd,)))
    middle = math.log(mean / (1 - mean)) * math.sqrt(1 + 0.346 * sd**2)
    np.testing.assert_allclose(found, expit(middle + sd * norm.ppf(even_shares(199))), rtol=0.02)
    assert found.mean() == pytest.approx(mean, rel=0.06)  # the average patient's rate is kept
    alone = predictive_quantiles(11, Tally(5.0, 100.0), Tally(0.0, 0.0), Spread(()))
    spread = predictive_quantiles(11, Tally(5.0, 100.0), Tally(0.0, 0.0), Spread((sd,), 3.0))
    assert (spread[0] < alone[0]) and (spread[-1] > alone[-1])


def test_the_average_of_few_patients_is_known_worse_than_from_as_many_cells_of_many():
    few, many = patients(0.8, n=4, cells=600, seed=5), patients(0.8, n=48, cells=50, seed=5)
    assert few.sum() == many.sum()
    few, many = (correct_ratio([150, 350], t.sum(0), subset=[0], scatter=t) for t in (few, many))
    assert width(few) > width(many)


@pytest.mark.parametrize(("monocytes", "value"), [(16, True), (336, False)])
def test_calls_in_a_class_without_validation_cells_widen_or_withhold(monocytes, value):
    """84 % of the calls in such a class used to leave the interval as it was."""
    table = np.zeros((4, 4), int)
    table[0], table[1] = [9000, 1000, 0, 0], [500, 9500, 0, 0]
    counts = [40, 360 - monocytes, monocytes, 0]
    known = table.copy()
    known[2] = [500, 0, 9500, 0]
    sides = {"subset": [0], "counted": [0, 1, 2], "scatter": no_scatter()}
    told, blind = correct_ratio(counts, known, **sides), correct_ratio(counts, table, **sides)
    assert width(blind) > 1.2 * width(told) and blind.low < told.low and blind.high > told.high
    assert math.isfinite(blind.value) is value and (blind.reason == "class_not_validated") is not value


def test_cells_by_patient_are_read_back_from_a_card():
    truth = ["blast", "blast", "monocyte", "monocyte", "neutrophil"]
    called = ["blast", None, "monocyte", "blast", "neutrophil"]
    card = by_patient_for_card(truth, called, ["a", "b", "a", "a", "b"], FOUR, unit="patient")
    tables = cells_by_patient(card, FOUR)
    assert tables.shape == (2, 4, 5) and tables.sum() == 5
    assert tables[0, 2].tolist() == [1, 0, 1, 0, 0] and tables[1, 0].tolist() == [0, 0, 0, 0, 1]
    assert cells_by_patient(None, FOUR) is None
    assert cells_by_patient(card | {"patients": card["patients"][:1]}, FOUR) is None
    for wrong in ({"names": ["blast"]}, {"patients": [{"id": "a", "cells": [[0, 9, 1]]}]}, {"patients": [{}]}):
        with pytest.raises(ModelError, match="confusion_by_patient needs names and patients"):
            cells_by_patient(card | wrong, FOUR)
    with pytest.raises(DataError, match="cells by patient need tables"):
        correct_ratio([1, 2], [[9, 1], [1, 9]], subset=[0], scatter=np.zeros((3, 3, 3), int))


def test_cells_that_are_not_identified_are_corrected_as_validation_shows_them():
    """Half of the blasts and no other cell are not identified: 5 called of 100 with 5 not identified are 10 %."""
    card = {"names": list(FOUR.names), "counts": np.diag([500, 1000, 1000, 100]).tolist()}
    table = confusion_of(card | {"unidentified": [500, 0, 0, 0]}, FOUR)
    assert table.shape == (4, 5) and table[0].tolist() == [500, 0, 0, 0, 500]
    patient = Differential("p", "blood", [50, 500, 400, 0], [50, 500, 400, 0], 1, FOUR, 50)
    ratio = correct_patient(patient, table, scatter=no_scatter())
    assert ratio.raw == pytest.approx(50 / 950) and ratio.value == pytest.approx(0.1, abs=0.003)
    blind = correct_patient(patient, confusion_of(card, FOUR), scatter=no_scatter())
    assert blind.reason == "unidentified_not_validated" and math.isnan(blind.value)
    with pytest.raises(ModelError, match="unidentified must be 4 numbers"):
        confusion_of(card | {"unidentified": [1]}, FOUR)


def test_a_cards_tables_are_made_from_validation_cells():
    probs = np.array([[0.9, 0.05, 0.05, 0], [0.4, 0.3, 0.3, 0], [0.1, 0.8, 0.1, 0], [0.6, 0.2, 0.2, 0]])
    keys = confusion_for_card([0, 0, 1, 2], probs, FOUR, patients=["a", "a", "b", "b"], least_prob=0.5)
    assert keys["confusion"]["counts"][0][0] == keys["confusion"]["unidentified"][0] == 1
    table, tables = confusion_of(keys["confusion"], FOUR), cells_by_patient(keys["confusion_by_patient"], FOUR)
    assert table.tolist() == tables.sum(0).tolist() and table.sum() == 4
    plain = confusion_for_card([0, 0, 1, 2], probs, FOUR)
    assert list(plain) == ["confusion"] and "unidentified" not in plain["confusion"]
    assert confusion_of(plain["confusion"], FOUR).shape == (4, 4)

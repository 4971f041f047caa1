"""Macro-F1 by attribute against scikit-learn, and the rule by which words are shown."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluate.attributes import (
    LEAST_RIGHT,
    attribute_f1,
    attribute_matrices,
    choose_word_rule,
    most_probable,
)
from leukoscope.taxonomy import Attribute, AttributeSet

TWO = AttributeSet(
    "two",
    (
        Attribute("size", "cell", ("small", "large"), ("small", "large"), ("s", "l")),
        Attribute("shape", "nucleus", ("a", "b", "c"), ("a", "b", "c"), ("a", "b", "c")),
    ),
)


def noisy_values(stated, noise, seed=0):
    """Output (N, 5) that favours the stated values by 4, blurred."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, noise, (len(stated), TWO.n_values))
    for column, columns in enumerate(TWO.slices()):
        values[np.arange(len(stated)), columns.start + np.maximum(stated[:, column], 0)] += 4
    return values


def draw(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(2, n, p=[0.8, 0.2]), rng.choice(3, n)], 1)


def test_f1_equals_scikit_learn_and_skips_what_nobody_states():
    metrics = pytest.importorskip("sklearn.metrics")
    stated = draw()
    stated[:100, 1] = -1
    calls = most_probable(noisy_values(stated, 3.0), TWO)
    got = attribute_f1(calls, stated, TWO)
    for column, known in ((0, slice(None)), (1, slice(100, None))):
        expected = metrics.f1_score(stated[known, column], calls[known, column], average="macro")
        assert got[column] == pytest.approx(expected, abs=1e-12)
    assert attribute_matrices(calls, stated, TWO)[1].sum() == 300
    with pytest.raises(DataError, match="shape"):
        attribute_f1(calls[:, :1], stated, TWO)


def test_a_clear_attribute_is_shown_and_a_blurred_one_only_where_it_is_sure():
    stated = draw()
    clear, blurred = noisy_values(stated, 0.5), noisy_values(stated, 2.0, seed=1)
    values = np.concatenate([clear[:, :2], blurred[:, 2:]], 1)
    rule = choose_word_rule(values, stated, TWO, classes=("monocyte",))
    assert rule.thresholds[0] == 0.5 and rule.measured[0]["shown"] == 1.0
    assert 0.5 < rule.thresholds[1] < 1 and rule.measured[1]["shown"] < 0.9
    said = rule.say(values, ["monocyte"] * len(values))
    for column, attribute in enumerate(TWO.attributes):
        for place, value in enumerate(attribute.values):
            rows = [i for i, words in enumerate(said) if words.get(attribute.name) == value]
            assert len(rows) > 20 and (stated[rows, column] == place).mean() >= LEAST_RIGHT


def test_an_attribute_that_only_says_the_commonest_value_is_never_shown():
    stated = draw()
    values = noisy_values(stated, 0.5)
    values[:, 0] += 20  # always small, right in four of five
    rule = choose_word_rule(values, stated, TWO, classes=("monocyte",))
    assert rule.thresholds[0] is None and rule.shown == ("shape",)
    rare = stated.copy()
    rare[:, 0] = 0
    rare[:3, 0] = 1  # three cells say nothing of how often "large" is right
    assert choose_word_rule(noisy_values(rare, 0.1), rare, TWO, classes=()).thresholds[0] is None
    rare[:] = -1
    with pytest.raises(DataError, match="no validation cell states size"):
        choose_word_rule(values, rare, TWO, classes=())

"""Choosing cells to label: as many as asked for, each once, and such as stand for the others."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.errors import InputError
from leukoscope.train.adapt.choose import METHODS, choose_cells, k_means, typicality


def clusters(sizes=(60, 25, 10, 5), seed=0, apart=12.0):
    """Rows around corners of a cube, and the corner of each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes))[labels] * apart + rng.normal(size=(len(labels), len(sizes))), labels


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_every_method_gives_that_many_different_cells(method, n):
    x, labels = clusters()
    probs = np.eye(4)[labels] * 0.7 + 0.075
    rows = choose_cells(x, probs, n, method=method)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == n == len(rows)


@pytest.mark.parametrize("method", ["coverage", "centres", "typical", "typical_by_call"])
def test_four_cells_cover_four_kinds(method):
    x, labels = clusters()
    probs = np.eye(4)[labels] * 0.7 + 0.075
    assert set(labels[choose_cells(x, probs, 4, method=method)]) == {0, 1, 2, 3}


def test_uncertain_takes_the_smallest_margins_first():
    probs = np.array([[0.9, 0.1, 0.0], [0.5, 0.45, 0.05], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]])
    assert choose_cells(np.zeros((4, 2)), probs, 3, method="uncertain").tolist() == [1, 2, 3]


def test_typical_prefers_the_thick_of_a_cluster_to_its_edge():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(80, 2)) * 0.3, [[5.0, 0.0]]])
    assert typicality(x).argmin() == 80
    assert choose_cells(x, None, 1, method="typical")[0] != 80
    assert choose_cells(x, None, 2, method="coverage")[1] == 80


def test_copies_of_one_cell_leave_no_cluster_without_a_row():
    x = np.zeros((6, 3))
    assert sorted(choose_cells(x, None, 5, method="typical").tolist())[-1] <= 5


def test_the_seed_decides():
    x, _ = clusters()
    same = [choose_cells(x, None, 20, method="random", seed=3).tolist() for _ in range(2)]
    assert same[0] == same[1] != choose_cells(x, None, 20, method="random", seed=4).tolist()


def test_k_means_is_as_good_as_scikit_learn():
    sklearn = pytest.importorskip("sklearn.cluster")
    x, _ = clusters(apart=4.0)
    centres, cluster = k_means(x, 6, np.random.default_rng(0), restarts=8)
    inertia = ((x - centres[cluster]) ** 2).sum()
    reference = sklearn.KMeans(6, n_init=8, random_state=0).fit(x).inertia_
    assert inertia == pytest.approx(reference, rel=0.03)


def test_what_can_not_be_is_refused():
    x, _ = clusters()
    with pytest.raises(InputError, match="no way 'best'"):
        choose_cells(x, None, 3, method="best")
    with pytest.raises(InputError, match="can't choose 101 of 100"):
        choose_cells(x, None, 101)
    with pytest.raises(InputError, match="probabilities"):
        choose_cells(x, None, 3, method="uncertain")

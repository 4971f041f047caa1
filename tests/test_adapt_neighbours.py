"""A layer that calls like cells alike: better where clusters are clear, and no surer than before."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.train.adapt import neighbours  # noqa: E402
from leukoscope.train.adapt.heads import softmax, with_one  # noqa: E402
from leukoscope.train.adapt.neighbours import lean_on_neighbours  # noqa: E402

WIDTH, N_CLASSES = 30, 3


def site(n=150, seed=0, width=1.0):
    """Cells in three clear clusters, and a layer that listens to much else: it calls a tenth of each wrongly."""
    centres = np.random.default_rng(1).normal(0, 1.5, (N_CLASSES, WIDTH))
    labels = np.arange(n) % N_CLASSES
    heard = centres[labels] + np.random.default_rng(seed).normal(0, width, (n, WIDTH))
    layer = np.concatenate([centres.T, -(centres**2).sum(1)[None] / 2]) / 2
    noise = np.random.default_rng(4).normal(0, 1.6, (WIDTH, N_CLASSES))
    layer[:-1] += noise
    layer[-1] -= centres.mean(0) @ noise
    return heard, labels, layer / 10


def right(heard, layer, labels):
    return float(((with_one(heard) @ layer).argmax(1) == labels).mean())


def sureness(heard, layer):
    return float(softmax(with_one(heard) @ layer).max(1).mean())


def test_like_cells_are_called_alike_and_no_surer_than_before():
    heard, labels, layer = site()
    fitted = lean_on_neighbours(heard, layer, temperature=1.0)
    assert right(heard, fitted, labels) > right(heard, layer, labels) + 0.02
    assert sureness(heard, fitted) == pytest.approx(sureness(heard, layer), abs=0.01)
    warm = lean_on_neighbours(heard, 2 * layer, temperature=2.0)
    assert warm == pytest.approx(2 * fitted, abs=1e-6)


def test_a_large_site_is_drawn_from(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_CELLS", 60)
    features, labels, layer = site(400)
    fitted = lean_on_neighbours(features, layer, temperature=1.0)
    assert right(features, fitted, labels) > right(features, layer, labels)
    assert fitted == pytest.approx(lean_on_neighbours(features, layer, temperature=1.0))

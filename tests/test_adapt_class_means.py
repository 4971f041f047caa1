"""Class means of labelled, unlabelled and training cells: better than labels alone, and other classes left in peace."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.models.probabilities import softmax  # noqa: E402
from leukoscope.train.adapt import class_means  # noqa: E402
from leukoscope.train.adapt.class_means import Learnt, follow_class_means  # noqa: E402
from leukoscope.train.adapt.heads import with_one  # noqa: E402
from leukoscope.train.adapt.profile import fit_profile, measure_reference  # noqa: E402
from leukoscope.train.adapt.site_head import fit_site_head, fit_site_layer  # noqa: E402

WIDTH, N_CLASSES = 40, 4  # the last class is not seen at the site
CENTRES = np.random.default_rng(1).normal(0, 1.0, (N_CLASSES, WIDTH))


def cells(n, *, seed, turn=0.0, n_classes=N_CLASSES):
    """Cells of known classes; `turn`: how far each class's mean is moved, another way each, as a new stain does."""
    labels = np.arange(n) % n_classes
    moved = CENTRES + turn * np.random.default_rng(2).normal(0, 1.0, CENTRES.shape)
    return moved[labels] + np.random.default_rng(seed).normal(0, 1.6, (n, WIDTH)), labels


@pytest.fixture(scope="module")
def learnt_layer():
    features, labels = cells(800, seed=3)
    start = np.zeros((WIDTH + 1, N_CLASSES))
    layer = fit_site_head(features, np.eye(N_CLASSES, dtype=bool)[labels], start, groups=np.arange(800)).weights
    return layer, measure_reference(features, labels, N_CLASSES)


def new_site(layer, reference, n=240, n_labelled=18):
    features, labels = cells(n, seed=5, turn=0.9, n_classes=N_CLASSES - 1)
    used = np.arange(n_labelled)
    learnt = Learnt(1.0, reference, fit_profile(features, layer, reference, temperature=1.0))
    return features, labels, used, np.eye(N_CLASSES, dtype=bool)[labels[used]], learnt


def right(features, layer, labels):
    return float(((with_one(features) @ layer).argmax(1) == labels).mean())


def test_means_beat_labels_alone_and_are_a_linear_layer(learnt_layer, monkeypatch):
    monkeypatch.setattr(class_means, "SCALE", 0.5)  # of forty features, not of thousands
    layer, reference = learnt_layer
    features, labels, used, allowed, learnt = new_site(layer, reference)
    rest = np.setdiff1d(np.arange(len(labels)), used)
    alone = fit_site_head(features[used], allowed, layer, groups=used)
    both = fit_site_layer(features, allowed, layer, used=used, groups=used, learnt=learnt)
    assert both.class_means and both.weights.shape == layer.shape
    assert right(features[rest], both.weights, labels[rest]) > right(features[rest], alone.weights, labels[rest]) + 0.02
    left = fit_site_layer(features, allowed, layer, used=used, groups=used, learnt=None)
    assert not left.class_means and left.weights == pytest.approx(alone.weights)


def test_other_classes_keep_their_share_and_calls_are_as_sure(learnt_layer):
    layer, reference = learnt_layer
    features, _, used, allowed, learnt = new_site(layer, reference)
    fitted = follow_class_means(features, layer, learnt, used=used, allowed=allowed)
    before, after = (softmax(with_one(features) @ w) for w in (layer, fitted))
    assert after[:, 3] == pytest.approx(before[:, 3], abs=0.15)
    assert after[:, 3].mean() == pytest.approx(before[:, 3].mean(), abs=0.02)
    sure = [(p[:, :3] / p[:, :3].sum(1, keepdims=True)).max(1).mean() for p in (before, after)]
    assert sure[1] == pytest.approx(sure[0], abs=0.03)
    warm = Learnt(2.0, reference, learnt.profile)
    assert follow_class_means(features, 2 * layer, warm, used=used, allowed=allowed) == pytest.approx(2 * fitted)


def test_a_class_that_nobody_trained_on_and_a_large_site(learnt_layer, monkeypatch):
    monkeypatch.setattr(class_means, "MOST_CELLS", 50)
    layer, reference = learnt_layer
    features, labels, used, allowed, learnt = new_site(layer, reference)
    gone = measure_reference(*(a[:0] for a in (features, labels)), N_CLASSES)
    n = reference.n * (np.arange(N_CLASSES) != 1)
    unknown = type(gone)(n, reference.means * (n > 0)[:, None], reference.squares * (n > 0)[:, None])
    fitted = follow_class_means(
        features, layer, Learnt(1.0, unknown, learnt.profile), used=used, allowed=allowed, seed=1
    )
    assert np.isfinite(fitted).all()
    of_class = labels == 1
    assert right(features[of_class], fitted, labels[of_class]) > 0.5

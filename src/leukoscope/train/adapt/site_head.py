"""A new last layer for a bundle's network: what a laboratory can run, and needs no source cells for.

Logistic regression on the input of the last layer, pulled to the layer that is there (L2-SP, Li et al. 2018). How hard
it is pulled is chosen by cross-validation within the labelled cells; where nothing beats the old layer, it stays.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from leukoscope.allocation import freed_memory_kept
from leukoscope.crop import match_nuclei
from leukoscope.errors import DataError
from leukoscope.models.probabilities import softmax
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.train.adapt.class_means import Learnt, follow_class_means
from leukoscope.train.adapt.heads import balanced, logistic_weights, with_one

PULLS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
CHANCE = 1.5  # labelled cells: one more called right says nothing, whatever their number
_FOLDS = 5
_STALE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class SiteHead:
    """weights (F + 1, C), intercept last; pull: the one chosen, None where the old layer stays.

    before, after  accuracy on labelled cells by cross-validation, of the old and the new layer (NaN with too few)
    held_logits    (N, C) of each labelled cell from a layer that did not see it
    class_means    whether the layer also follows class means and the cells without a label (`follow_class_means`)
    """

    weights: np.ndarray
    pull: float | None
    before: float
    after: float
    held_logits: np.ndarray
    class_means: bool = False


@torch.no_grad()
@freed_memory_kept()
def last_features(
    network: CellClassifier, crops: np.ndarray, diameters: np.ndarray, *, density: tuple[float, float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer hears (N, F) and the network says (N, C); crops white-balanced, matched to `density` here."""
    features, said = [np.zeros((0, network.fc.in_features))], [np.zeros((0, network.fc.out_features))]
    for start in range(0, len(crops), 32):
        pixels = torch.from_numpy(match_nuclei(crops[start : start + 32], density))
        pooled = network.hear(pixels, torch.from_numpy(np.asarray(diameters[start : start + 32], np.float32)))
        features.append(pooled.numpy())
        said.append(network.say(pooled).numpy())
    return np.concatenate(features), np.concatenate(said)


def old_weights(network: CellClassifier) -> np.ndarray:
    """(F + 1, C) of the network's last layer, intercept last."""
    return np.concatenate([network.fc.weight.detach().numpy().T, network.fc.bias.detach().numpy()[None]])


@torch.no_grad()
def sharpness(network: CellClassifier, features: np.ndarray) -> np.ndarray:
    """(N, 1) by what the network multiplies its last layer's answer to features (N, F): more where cells look like
    those of training. Which class is called does not depend on it."""
    return network.sharpness(torch.from_numpy(np.asarray(features, np.float32))).numpy().astype(np.float64)


def fit_site_head(
    features: np.ndarray, allowed: np.ndarray, old: np.ndarray, *, groups: np.ndarray, seed: int = 0
) -> SiteHead:
    """The new layer from labelled cells.

    features (N, F); allowed (N, C) bool: the classes a cell may be (several where its label is coarser than the
    model's); old (F + 1, C); groups (N,): what is not divided by cross-validation. DataError without a labelled cell.
    Right means, among the classes that any label allows: the most probable one is allowed.
    """
    if not len(features) or not allowed.any(1).all():
        raise DataError("a site's last layer needs labelled cells, each with a class of the model")
    features = np.asarray(features, np.float64)
    folds = _folds(allowed.argmax(1), groups, seed)
    before_logits = with_one(features) @ old
    held = {None: before_logits}
    if folds.max() > 0:
        for pull in PULLS:
            held[pull] = np.empty_like(before_logits)
            for fold in range(folds.max() + 1):
                rows = folds != fold
                fitted = _fit(features[rows], allowed[rows], old, pull)
                held[pull][~rows] = with_one(features[~rows]) @ fitted
    # Losses, not accuracies: few cells make few different accuracies.
    losses = {pull: set_loss(logits, allowed) for pull, logits in held.items()}
    best = min(losses, key=lambda p: (losses[p] + _STALE * (p is not None), -(p or 0)))
    weights = old if best is None else _fit(features, allowed, old, best)
    return SiteHead(weights, best, right_share(before_logits, allowed), right_share(held[best], allowed), held[best])


def fit_site_layer(
    features: np.ndarray,
    allowed: np.ndarray,
    old: np.ndarray,
    *,
    used: np.ndarray,
    groups: np.ndarray,
    learnt: Learnt | None,
    seed: int = 0,
) -> SiteHead:
    """`fit_site_head` on the labelled rows `used` of the site's cells heard (N, F), and then, where that is not clearly
    worse on labelled cells left out, a layer that follows class means and the site's other cells.

    allowed (n, C), groups (n,): of the labelled rows; learnt: None: leave unlabelled cells alone
    """
    head = fit_site_head(features[used], allowed, old, groups=groups, seed=seed)
    folds = _folds(allowed.argmax(1), groups, seed)
    if learnt is None or folds.max() == 0:
        return head
    held = np.empty_like(head.held_logits)
    for fold in range(folds.max() + 1):
        seen = folds != fold
        first = old if head.pull is None else _fit(features[used[seen]], allowed[seen], old, head.pull)
        of_seen = {"used": used[seen], "allowed": allowed[seen], "seed": seed}
        held[~seen] = with_one(features[used[~seen]]) @ follow_class_means(features, first, learnt, **of_seen)
    after = right_share(held, allowed)
    if after < head.after - CHANCE / len(used):
        return head
    weights = follow_class_means(features, head.weights, learnt, used=used, allowed=allowed, seed=seed)
    return replace(head, weights=weights, after=after, held_logits=held, class_means=True)


def _fit(features: np.ndarray, allowed: np.ndarray, old: np.ndarray, pull: float) -> np.ndarray:
    """A label that allows several classes counts as the old layer's probabilities among them."""
    among = np.where(allowed, softmax(with_one(features) @ old) + 1e-9, 0.0)
    targets = among / among.sum(1, keepdims=True)
    weights = balanced(allowed.argmax(1), allowed.shape[1])
    return logistic_weights(features, targets, penalty=pull, weights=weights, start=old)


def set_loss(logits: np.ndarray, allowed: np.ndarray) -> float:
    """Mean of -log of the probability of the allowed classes, among those that any label allows."""
    probs = softmax(np.where(allowed.any(0), logits, -np.inf))
    return float(-np.log(np.maximum((probs * allowed).sum(1), 1e-12)).mean())


def right_share(logits: np.ndarray, allowed: np.ndarray) -> float:
    calls = np.where(allowed.any(0), logits, -np.inf).argmax(1)
    return float(allowed[np.arange(len(calls)), calls].mean())


def _folds(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """(N,) fold of each cell, whole groups together, each class spread over the folds."""
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    of_group = {names[g]: int(labels[groups == names[g]][0]) for g in order}
    ranked = sorted(order, key=lambda g: of_group[names[g]])
    n_folds = min(_FOLDS, len(names))
    fold = {names[g]: place % n_folds for place, g in enumerate(ranked)}
    return np.array([fold[g] for g in groups.tolist()])

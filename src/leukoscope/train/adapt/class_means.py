"""A last layer from class means: what labelled cells of a site, the cells beside them and the training cells say.

Thirty cells are few for thousands of weights, and enough to move some means. Each class's mean is that of the site's
labelled cells, of its unlabelled ones by their own probabilities, and of one training cell moved as the labelled cells
lie off; means and probabilities are found by turns (EM with one spread for all classes, which stays the training
cells'). Distances to means that share their spread are a linear layer: at analysis it costs nothing.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.heads import squared_distances, with_one
from leukoscope.train.adapt.neighbours import as_sure
from leukoscope.train.adapt.profile import Profile, Reference

# Chosen on development sets (docs/log.md): two and ten rounds, half to two training cells, 0.1 to 1 are no better.
ROUNDS = 5
SOURCE_CELLS = 1.0  # that the training set's mean counts for in a class's
UNLABELLED = 0.3  # weight of an unlabelled cell beside a labelled one's 1
SHIFT_CELLS = 3.0  # that pull the site's common shift to none
SCALE = 0.03  # of squared distances: thousands of features are not independent
HEAD_SHARE = 0.3  # of the fitted head's logits beside those of the means
MOST_CELLS = 2000  # without a label, drawn from a larger site
_RIDGE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What a model knew before any label: the card's temperature, the reference of its own cells, and the profile that
    brings the site's cells to them."""

    temperature: float
    reference: Reference
    profile: Profile


def follow_class_means(
    features: np.ndarray, head: np.ndarray, learnt: Learnt, *, used: np.ndarray, allowed: np.ndarray, seed: int = 0
) -> np.ndarray:
    """A layer (F + 1, C) for a site's cells heard (N, F), from class means and the layer `head` (F + 1, C) together.

    used, allowed  rows of labelled cells, and (n, C) bool: the classes that each may be
    Among classes that no label allows, and between them and the others, what `head` says stays, and so does how sure
    calls are on average.
    """
    others = np.setdiff1d(np.arange(len(features)), used)
    drawn = np.random.default_rng(seed).permutation(others)[:MOST_CELLS]
    features = np.asarray(features, np.float64)[np.concatenate([used, np.sort(drawn)])]
    before = with_one(features) @ head / learnt.temperature
    named = allowed.any(0)
    x, sources, to_x, zero = _compared(features, learnt)
    means = _means(x, sources[named], softmax(before)[:, named], allowed[:, named])
    layer = np.concatenate([2 * SCALE * to_x[:, None] * means.T, _intercepts(means, zero)[None]])
    layer += HEAD_SHARE * head[:, named] / learnt.temperature
    fitted = head / learnt.temperature
    wanted = float(softmax(before[:, named]).max(1).mean())
    layer *= as_sure(with_one(features) @ layer, wanted)
    apart = _log_sum(before[:, named]) - _log_sum(with_one(features) @ layer)
    fitted[:, named] = layer + _ridge(features, x, to_x, apart)[:, None]
    return fitted * learnt.temperature


def _compared(features: np.ndarray, learnt: Learnt) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells (N, F) and training means (C, F) in deviations within a class, around the site's mean; and how features
    become that: times (F,), less (F,)."""
    reference, profile = learnt.reference, learnt.profile
    known, unit = reference.n > 0, reference.units()
    x = (features * profile.gain + profile.offset) * unit
    middle = x.mean(0)
    sources = np.where(known[:, None], reference.means * unit - middle, np.nan)
    return x - middle, sources, profile.gain * unit, middle - profile.offset * unit


def _means(x: np.ndarray, sources: np.ndarray, probs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(K, F) of the classes that labels name; labelled cells come first in x (N, F) and probs (N, K)."""
    n, has_source = len(allowed), np.isfinite(sources).all(1)
    of_labels = np.where(allowed, probs[:n] + 1e-9, 0.0)
    of_labels /= of_labels.sum(1, keepdims=True)
    near = np.where(has_source[:, None], sources, of_labels.T @ x[:n] / of_labels.sum(0)[:, None])
    share = np.concatenate([of_labels, np.zeros_like(probs[n:])])
    for _ in range(ROUNDS + 1):
        counts = share.sum(0)
        off = (x[:n] - of_labels @ near) * has_source[allowed.argmax(1), None]
        shifted = near + off.sum(0) / (n + SHIFT_CELLS) * has_source[:, None]
        means = (share.T @ x + SOURCE_CELLS * shifted) / (counts + SOURCE_CELLS)[:, None]
        share = UNLABELLED * softmax(-SCALE * squared_distances(x, means))
        share[:n] = of_labels
    return means


def _intercepts(means: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """(K,) of -SCALE · |f · times - zero - mean|² without what all classes share, for features f."""
    return -SCALE * ((means**2).sum(1) + 2 * means @ zero)


def _log_sum(logits: np.ndarray) -> np.ndarray:
    top = logits.max(1)
    return top + np.log(np.exp(logits - top[:, None]).sum(1))


def _ridge(features: np.ndarray, x: np.ndarray, to_x: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(F + 1,) a linear function of the features that is near `wanted` (N,) on these cells; x (N, F) and to_x (F,): the
    same cells as `_compared` has them."""
    like = x @ x.T
    like[np.diag_indices(len(x))] += max(_RIDGE * np.trace(like) / len(x), 1e-12)
    slope = to_x * (x.T @ np.linalg.solve(like, wanted - wanted.mean()))
    return np.append(slope, wanted.mean() - features.mean(0) @ slope)

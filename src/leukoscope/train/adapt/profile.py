"""A site's profile: its features brought to the training set's, without a label, and folded into the last layer.

Another stain and camera shift and stretch what a network hears. From some hundred cells of ordinary patients the shift
can be told: each feature's mean and deviation there, against what the training cells would have *in the same mix of
classes*. The mix is estimated with the map, by turns. What comes of it is a linear map before a linear layer, that is,
another linear layer: at analysis it costs nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.errors import UNREADABLE, DataError, in_short
from leukoscope.files import save_arrays
from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.heads import with_one

REFERENCE = "reference.npz"
ROUNDS = 5
FIRST_SHARE = 0.5  # of the mix that the layer saw before any map: map and mix alone can run off to one class together
LEAST_SPREAD, MOST_SPREAD = 0.5, 2.0  # a feature is pressed or stretched by these at most


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a model's own cells look like to its last layer: n (C,), means (C, F) and mean squares (C, F) by class."""

    n: np.ndarray
    means: np.ndarray
    squares: np.ndarray

    def of_mix(self, mix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (F,) of cells in a mix (C,) of the classes."""
        known = mix * (self.n > 0)
        known = known / known.sum()
        mean = known @ self.means
        return mean, np.sqrt(np.maximum(known @ self.squares - mean**2, 1e-8))

    def units(self) -> np.ndarray:
        """(F,): 1 over each feature's deviation within a class; what hardly varies is not blown up."""
        known = self.n > 0
        spread = (self.squares[known] - self.means[known] ** 2) * self.n[known, None]
        within = np.sqrt(np.maximum(spread, 0).sum(0) / self.n[known].sum())
        return 1 / (within + max(0.5 * float(within.mean()), 1e-12))

    def of_features(self, columns: np.ndarray) -> "Reference":
        """The reference of some features alone."""
        return Reference(self.n, self.means[:, columns], self.squares[:, columns])


def measure_reference(features: np.ndarray, labels: np.ndarray, n_classes: int) -> Reference:
    """The reference of cells that are known: heard (N, F), labels (N,) columns."""
    n = np.bincount(labels, minlength=n_classes)
    means, squares = np.zeros((2, n_classes, features.shape[1]))
    for column in np.flatnonzero(n):
        of_class = features[labels == column].astype(np.float64)
        means[column], squares[column] = of_class.mean(0), (of_class**2).mean(0)
    return Reference(n, means, squares)


def write_reference(reference: Reference, folder: str | Path) -> None:
    """`reference.npz` of a bundle: numbers of cells, means and mean squares by class, in sixteen bits."""
    half = {k: getattr(reference, k).astype(np.float16) for k in ("means", "squares")}
    save_arrays(Path(folder) / REFERENCE, n=reference.n, **half)


def read_reference(folder: str | Path) -> Reference | None:
    """The reference of a bundle, None where it has none. DataError where the file is damaged."""
    path = Path(folder) / REFERENCE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return Reference(file["n"], file["means"].astype(np.float64), file["squares"].astype(np.float64))
    except (OSError, *UNREADABLE) as error:
        raise DataError(f"{path} is damaged: {in_short(error)}; copy the bundle again") from None


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """weights (F + 1, C): the new layer; mix (C,): the site's classes; shift (F,): how far its features lie from the
    reference's, in deviations; mean, spread (F,): the site's own; gain, offset (F,): what brings its features there."""

    weights: np.ndarray
    mix: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


def fit_profile(
    features: np.ndarray, old: np.ndarray, reference: Reference, *, temperature: float, strength: float = 1.0
) -> Profile:
    """The layer `old` (F + 1, C) for a site whose unlabelled cells are heard (N, F).

    strength  of the way from the site's features to the reference's: 0 none, 1 all. DataError for fewer than two cells.
    """
    if len(features) < 2:
        raise DataError(f"a site's profile needs cells, got {len(features)}")
    features = np.asarray(features, np.float64)
    mean, spread = features.mean(0), features.std(0)
    weights, first = old, softmax(with_one(features) @ old / temperature).mean(0)
    for _ in range(ROUNDS):
        mix = softmax(with_one(features) @ weights / temperature).mean(0)
        mix = FIRST_SHARE * first + (1 - FIRST_SHARE) * mix
        to_mean, to_spread = reference.of_mix(mix)
        gain = np.clip(to_spread / np.maximum(spread, 0.05 * to_spread), LEAST_SPREAD, MOST_SPREAD) ** strength
        offset = (to_mean - mean) * strength + mean - gain * mean
        weights = np.concatenate([old[:-1] * gain[:, None], (old[-1] + offset @ old[:-1])[None]])
    mix = softmax(with_one(features) @ weights / temperature).mean(0)
    return Profile(weights, mix, (mean - to_mean) / to_spread, mean, spread, gain, offset)

"""What a step of the classifier's training works on: which cells are drawn, and what they are shown as."""

from dataclasses import dataclass

import numpy as np
import torch

from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.augment import match_nuclei_of, mix_channels
from leukoscope.train.classifier.config import ClassifierConfig
from leukoscope.train.classifier.data import CellStore, class_targets
from leukoscope.train.classifier.dress import Wardrobe


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's pixels (B, S, S, 3) float in [0, 255], diameters (B,) and rows (B,) of the store."""

    step: int
    pixels: torch.Tensor
    diameters: torch.Tensor
    rows: torch.Tensor


class Feeder:
    """The batches of a run, each drawn from its own seed."""

    def __init__(self, config: ClassifierConfig, store: CellStore, device: str) -> None:
        self.config, self.dress, self.device = config, config.dressed(), device
        targets = class_targets(store, read_taxonomy(config.taxonomy), config.class_sets)
        taught = targets.any(1)
        self.store = store if taught.all() else store.subset(taught)  # a copy is a gigabyte
        self.targets = torch.from_numpy(targets[taught]).to(device)
        self.stated = torch.from_numpy(self.store.attributes).to(device)
        self.wardrobe = Wardrobe(self.store, device)
        _, sets = np.unique(self.store.sets, return_inverse=True)
        self.sets = torch.from_numpy(sets).to(device)
        self.weights = sampling_weights(self.store)

    def batch(self, step: int) -> Batch:
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        rows = rng.choice(len(self.store), config.batch_size, p=self.weights)
        crops = self.wardrobe.batch(rows, config.size, self.dress, (config.seed, step, 5))
        crops = match_nuclei_of(crops, config.nucleus_density)
        if config.grey:
            crops = mix_channels(crops, rng.dirichlet((1, 1, 1), len(crops)))
        known = rng.random(len(rows)) < 0.5  # half of the time as if the scale were unknown
        diameters = self.store.diameters[rows] * known * np.exp(rng.normal(0, 0.12, len(rows)))  # rulers err
        pixels = (crops * 255).permute(0, 2, 3, 1).contiguous()  # channels last: else four times as slow on a processor
        diameters = torch.from_numpy(diameters.astype(np.float32)).to(self.device)
        return Batch(step, pixels, diameters, torch.from_numpy(rows).to(self.device))


def sampling_weights(store: CellStore) -> np.ndarray:
    """(N,) summing to 1: a group (data set and class) is drawn by the root of its size, in it each patient likewise."""
    groups, weights = store.groups, np.zeros(len(store))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        for patient in np.unique(store.patients[rows]):
            of_patient = rows[store.patients[rows] == patient]
            weights[of_patient] = 1 / np.sqrt(len(of_patient))
        weights[rows] *= np.sqrt(len(rows)) / weights[rows].sum()
    return weights / weights.sum()

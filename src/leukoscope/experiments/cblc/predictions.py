"""The study's members, made and asked: every predicted cell called by the members that may call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.experiments.cblc.baselines import nucleus_areas
from leukoscope.experiments.cblc.cohort import Cohort
from leukoscope.experiments.cblc.crop_files import median_density, with_stain
from leukoscope.experiments.cblc.crops import crop_scale
from leukoscope.experiments.cblc.members import Member, cap_classes, join_probs, train_member
from leukoscope.experiments.cblc.patients import left_out_confusion
from leukoscope.experiments.cblc.settings import StudyConfig, StudyFiles
from leukoscope.train.crop_set import CropSet
from leukoscope.train.finetune_run import predict_logits

VALIDATION_CELLS = 40  # of a class, on which a member's epochs are validated
Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What members are made of: expert crops of development patients, predicted crops of all, neither stained yet.

    work  the study's own folder for what can be made again
    """

    cohort: Cohort
    files: StudyFiles
    expert: CropSet
    predicted: CropSet
    work: Path

    def folds(self, crops: CropSet) -> np.ndarray:
        """(N,) fold of each cell's patient, -1 for validation patients."""
        return np.array([self.cohort.patients[g].fold for g in crops.groups])

    def stained(self, crops: CropSet, config: StudyConfig) -> CropSet:
        """The crops with nuclei at the development centres' median stain, where the settings ask for it."""
        return with_stain(crops, median_density(self.expert.crops)) if config.stain else crops


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the trained members say of every predicted cell, row-aligned with `crops`.

    ensemble (N, C) probabilities: development cells by the member that left their patient out, validation cells by all
    members; single: by that one member, or the first; gt: by stage 1 of it. nucleus_um2 (N,)
    """

    crops: CropSet
    develop: np.ndarray
    ensemble: np.ndarray
    single: np.ndarray
    gt: np.ndarray
    nucleus_um2: np.ndarray

    def confusion(self) -> np.ndarray:
        """(C, C) of matched development cells, each called by a member that left its patient out."""
        return left_out_confusion(self.crops, self.ensemble, self.develop)


def make_member(
    config: StudyConfig, material: Material, folder: Path, *, fold: int, show: Show | None = None
) -> Member:
    """Train the member that leaves out one fold of the development patients; nothing where that is done."""
    expert, predicted = (material.stained(c, config) for c in (material.expert, material.predicted))
    of_expert, of_predicted = material.folds(expert), material.folds(predicted)
    seed, most = config.seed + fold, config.cells_per_class
    network = replace(material.files.classifier, seed=material.files.classifier.seed + fold)
    return train_member(
        config,
        network,
        folder,
        expert=cap_classes(expert.subset(of_expert != fold), most, seed=seed),
        predicted=cap_classes(predicted.subset((of_predicted >= 0) & (of_predicted != fold)), most, seed=seed),
        validation=cap_classes(predicted.subset(of_predicted == fold), VALIDATION_CELLS, seed=seed),
        progress=show,
    )


def predict_cells(material: Material, members: Sequence[Member], outlined_um2: np.ndarray) -> Predictions:
    """Call every predicted cell. outlined_um2 (N,): areas of nuclei that the outliner drew, 0 where it drew none."""
    config, predicted = material.files.study, material.predicted
    stained, folds = material.stained(predicted, config), material.folds(predicted)
    n_classes = len(predicted.taxonomy.names)
    last = np.zeros((len(members), len(predicted), n_classes), np.float32)
    first = np.zeros((len(predicted), n_classes), np.float32)
    for number, member in enumerate(members):
        folder = material.work / f"member-{number}"
        rows = (folds == number) | (folds < 0)
        last[number, rows] = _logits(folder / "last.npy", member.last, stained, rows)
        own = (folds == number) | ((folds < 0) & (number == 0))
        first[own] = _logits(folder / "first.npy", member.first, stained, own)
    by_member = [join_probs([z], ()) for z in last]
    ensemble, single = join_probs(list(last), config.ensemble_weights), by_member[0].copy()
    for number, probs in enumerate(by_member):
        single[folds == number] = ensemble[folds == number] = probs[folds == number]
    areas = nucleus_areas(predicted, outlined_um2, crop_scale(predicted, material.cohort.dataset, predicted.rule))
    return Predictions(stained, folds >= 0, ensemble, single, join_probs([first], ()), areas)


def ablate(config: StudyConfig, material: Material, folder: Path) -> dict[str, np.ndarray]:
    """The first member again under other settings: {"rows" (N,) bool that it may call, "probs" (M, C) of those}."""
    member = make_member(config, material, folder, fold=0)
    rows = material.folds(material.predicted) <= 0
    crops = material.stained(material.predicted, config)
    return {"rows": rows, "probs": join_probs([_logits(folder / "last.npy", member.last, crops, rows)], ())}


def _logits(path: Path, run: Path, crops: CropSet, rows: np.ndarray) -> np.ndarray:
    """(M, C) logits of some rows, kept in a file."""
    if not path.is_file():
        partial = path.with_suffix(".part")
        with open(partial, "wb") as file:
            np.save(file, predict_logits(run, crops.crops[rows]))
        partial.replace(path)
    return np.load(path)

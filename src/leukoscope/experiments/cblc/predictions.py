"""The study's members, made and asked: every predicted cell called by the members that may call it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.experiments.cblc.baselines import nucleus_areas
from leukoscope.experiments.cblc.cohort import DEVELOP, Cohort
from leukoscope.experiments.cblc.crop_files import join_crops, median_density, with_stain
from leukoscope.experiments.cblc.crops import crop_scale
from leukoscope.experiments.cblc.members import Member, cap_classes, join_probs, train_member
from leukoscope.experiments.cblc.patients import Validation, by_patient, left_out_confusion
from leukoscope.experiments.cblc.settings import StudyConfig, StudyFiles
from leukoscope.files import write_whole
from leukoscope.progress import Progress, no_progress
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.predict import predict_logits

VALIDATION_CELLS = 40  # of a class, on which a member's epochs are validated: of patients it is not trained on


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
    members; single: by that one member, or the first; gt: by stage 1 of it. nucleus_um2 (N,); validation: the labelled
    development cells by patient, each called by the member that left the patient out
    """

    crops: CropSet
    develop: np.ndarray
    ensemble: np.ndarray
    single: np.ndarray
    gt: np.ndarray
    nucleus_um2: np.ndarray
    validation: Validation

    def confusion(self) -> np.ndarray:
        """(C, C) of development cells, called by the member that left the patient out; artefacts have a row."""
        return left_out_confusion(self.crops, self.ensemble, self.develop)


def make_member(
    config: StudyConfig, material: Material, folder: Path, *, fold: int, progress: Progress = no_progress
) -> Member:
    """Train the member that leaves out one fold of the development patients; nothing where that is done.

    The left-out fold decides nothing, not even the epoch: some of the training patients are kept back for that.
    Stage 1 learns artefacts, which no expert outlines, from predicted contours.
    """
    expert, predicted = (material.stained(c, config) for c in (material.expert, material.predicted))
    seed, most = config.seed + fold, config.cells_per_class
    trained = {p.key for p in material.cohort.of(DEVELOP) if p.fold != fold}
    kept_back = epoch_patients(trained, seed=seed)
    teaches = [np.isin(c.groups, sorted(trained - kept_back)) for c in (expert, predicted)]
    unmatched = teaches[1] & ~predicted.extras["matched"].astype(bool)
    expert = join_crops(expert.subset(teaches[0]), predicted.subset(unmatched))
    network = replace(material.files.classifier, seed=material.files.classifier.seed + fold)
    judges = predicted.subset(np.isin(predicted.groups, sorted(kept_back))) if kept_back else None
    return train_member(
        config,
        network,
        folder,
        expert=cap_classes(expert, most, seed=seed),
        predicted=cap_classes(predicted.subset(teaches[1]), most, seed=seed),
        validation=None if judges is None else cap_classes(judges, VALIDATION_CELLS, seed=seed),
        progress=progress,
    )


def epoch_patients(patients: set[str], *, seed: int) -> set[str]:
    """A fifth of a member's patients, on whose cells its epochs are validated; none of fewer than five.

    Without them every epoch is run and the last one counts.
    """
    keys = np.array(sorted(patients))
    return set(np.random.default_rng(seed).permutation(keys)[: len(keys) // 5].tolist())


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
        left_out = (folds == number) | ((folds < 0) & (number == 0))
        first[left_out] = _logits(folder / "first.npy", member.first, stained, left_out)
    by_member = [join_probs([z], ()) for z in last]
    ensemble, single = join_probs(list(last), config.ensemble_weights), by_member[0].copy()
    for number, probs in enumerate(by_member):
        single[folds == number] = ensemble[folds == number] = probs[folds == number]
    areas = nucleus_areas(predicted, outlined_um2, crop_scale(predicted, material.cohort.dataset, predicted.rule))
    gt, learnt = join_probs([first], ()), folds >= 0
    return Predictions(stained, learnt, ensemble, single, gt, areas, Validation(by_patient(stained, ensemble, learnt)))


def ablate(config: StudyConfig, material: Material, folder: Path) -> dict[str, np.ndarray]:
    """The first member again under other settings: {"rows" (N,) bool that it may call, "probs" (M, C) of those}."""
    member = make_member(config, material, folder, fold=0)
    rows = material.folds(material.predicted) <= 0
    crops = material.stained(material.predicted, config)
    return {"rows": rows, "probs": join_probs([_logits(folder / "last.npy", member.last, crops, rows)], ())}


def _logits(path: Path, run: Path, crops: CropSet, rows: np.ndarray) -> np.ndarray:
    """(M, C) logits of some rows, kept in a file."""
    if not path.is_file():
        with write_whole(path, "wb") as file:
            np.save(file, predict_logits(run, crops.crops[rows]))
    return np.load(path)

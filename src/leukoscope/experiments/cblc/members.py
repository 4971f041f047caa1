"""The two-stage training of one ensemble member: GT to YOLO, then YOLO to YOLO, with the study's components."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from leukoscope.experiments.cblc.settings import StudyConfig
from leukoscope.files import write_text
from leukoscope.models.torch_backbones import arch_of_weights, build_network
from leukoscope.progress import Progress, no_progress
from leukoscope.train.crops.center_border import center_border_losses
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.finetune import finetune, load_finetuned, predict_features
from leukoscope.train.crops.imbalance import correct_imbalance
from leukoscope.train.crops.morphology import NAMES, MorphologyLoss, fit_head, morphology_targets, scale_targets

FIRST, SECOND = "stage-1", "stage-2"
MORPHOLOGY_CELLS = 1500  # the head is fitted to so many cells at most


@dataclass(frozen=True, slots=True)
class Member:
    """A trained member: its run folders. `last` is the one that predicts."""

    first: Path
    second: Path | None

    @property
    def last(self) -> Path:
        return self.second or self.first


def train_member(
    config: StudyConfig,
    network: FinetuneConfig,
    folder: Path,
    *,
    expert: CropSet,
    predicted: CropSet,
    validation: CropSet | None,
    progress: Progress = no_progress,
) -> Member:
    """Both stages into `folder`/stage-1 and /stage-2, going on where an earlier call stopped.

    network     the classifier's settings for stage 1; stage 2 has the study's second_epochs and second_rate
    expert      the training patients' cells by the expert's contours, with extras["morphology"] where the study asks
    predicted   the same patients' cells by predicted contours; those that match no expert's cell teach nothing
    validation  predicted cells of patients not trained on: both stages are validated on matched predicted crops
    """
    first = _run(config, network, folder / FIRST, expert, validation, start=None, progress=progress)
    if not config.second_epochs:
        return Member(first, None)
    second = replace(
        network, head_epochs=0, epochs=config.second_epochs, learning_rate=config.second_rate,
        head_rate=config.second_rate, weights=None, seed=network.seed + 1000,
    )  # fmt: skip
    return Member(first, _run(config, second, folder / SECOND, predicted, validation, start=first, progress=progress))


def measure_morphology(crops: CropSet, rows: np.ndarray | None = None) -> CropSet:
    """The set with extras["morphology"] (N, M): shape and texture measured on its masks, scaled over the rows measured.

    rows (N,) bool: which cells to measure, None: all; the others stay NaN
    """
    rows = np.ones(len(crops), bool) if rows is None else rows
    targets = np.full((len(crops), len(NAMES)), np.nan, np.float32)
    targets[rows] = scale_targets(morphology_targets(crops.extras["masks"][rows], crops.crops[rows]))[0]
    return replace(crops, extras=crops.extras | {"morphology": targets})


def cap_classes(crops: CropSet, most: int, *, seed: int) -> CropSet:
    """At most `most` typed cells of each class (0: all), spread over its patients; unknown ones are left out."""
    crops = crops.typed()
    if not most:
        return crops
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    for label in np.unique(crops.labels):
        rows = rng.permutation(np.flatnonzero(crops.labels == label))
        # A patient's first cell, then everybody's second: one patient with many can't be the class.
        _, patient = np.unique(crops.groups[rows], return_inverse=True)
        turn = np.zeros(len(rows), np.int64)
        seen: dict[int, int] = {}
        for i, p in enumerate(patient.tolist()):
            turn[i] = seen[p] = seen.get(p, -1) + 1
        kept += rows[np.argsort(turn, kind="stable")][:most].tolist()
    return crops.subset(np.sort(np.array(kept)))


def _run(
    config: StudyConfig,
    network: FinetuneConfig,
    run: Path,
    train: CropSet,
    validation: CropSet | None,
    *,
    start: Path | None,
    progress: Progress,
) -> Path:
    done = run / "done"
    if done.is_file():
        return run
    train = train.typed()
    class_loss, sampler = correct_imbalance(
        config.imbalance, train.labels, len(train.taxonomy.names), beta=config.beta, gamma=config.gamma
    )
    extra = list(
        center_border_losses(
            config.center_border,
            ring=config.ring,
            ring_weight=config.ring_weight,
            swap_weight=config.swap_weight,
            seed=network.seed,
        )  # fmt: skip
    )
    if config.morphology_weight:
        extra.append(_morphology_loss(config, network, train, start))
    finetune(
        network, train, validation, run, class_loss=class_loss, extra_losses=extra, sampler_weights=sampler,
        start_from=start, resume=(run / "checkpoint.pt").exists(), progress=progress,
    )  # fmt: skip
    (run / "checkpoint.pt").unlink(missing_ok=True)  # the optimiser's state: a finished run needs it no more
    write_text(done, "")
    return run


def _morphology_loss(config: StudyConfig, network: FinetuneConfig, train: CropSet, start: Path | None):
    """The auxiliary loss with its head fitted to the network that this stage starts from."""
    torch.manual_seed(network.seed)
    if start is not None:
        begin = load_finetuned(start)[0]
    else:
        arch = arch_of_weights(network.arch, network.weights)
        begin = build_network(
            arch, len(train.taxonomy.names), weights=network.weights, size=network.size, norms=network.norms
        )
    rows = np.random.default_rng(network.seed).permutation(len(train))[:MORPHOLOGY_CELLS]
    features = predict_features(begin.eval(), train.crops[rows])
    head = fit_head(features, train.extras["morphology"][rows])
    return MorphologyLoss(head, weight=config.morphology_weight)


def component_variants(config: StudyConfig) -> dict[str, StudyConfig]:
    """The study's settings with one component taken away at a time; components that are off already are left out."""
    variants: dict[str, StudyConfig] = {}
    if config.imbalance:
        variants["without imbalance correction"] = replace(config, imbalance=())
    if config.center_border:
        variants["without centre-border"] = replace(config, center_border=())
    if config.morphology_weight:
        variants["without morphology"] = replace(config, morphology_weight=0.0)
    if config.stain:
        variants["without stain normalisation"] = replace(config, stain=False)
    return variants


def join_probs(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """(N, C) probabilities of the ensemble from its members' logits (N, C)."""
    from leukoscope.models.probabilities import softmax
    from leukoscope.train.crops.ensemble import average_probs

    return average_probs([softmax(z) for z in logits], weights or None)

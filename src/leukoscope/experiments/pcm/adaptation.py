"""The adaptation rows (Table 7): a source-trained classifier on a target, as it is and with a tenth of it labelled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.errors import ConfigError, DataError
from leukoscope.experiments.intervals import Estimate, accuracy_of, estimate, macro_f1_of
from leukoscope.experiments.pcm.calls import CallSet, label_sets, score_calls
from leukoscope.experiments.pcm.classifiers import read_crops, read_finetune_config, read_predictions, rows_in
from leukoscope.experiments.pcm.config import RowPlan, StudyConfig
from leukoscope.experiments.pcm.data import TARGET, StudyData, StudySet
from leukoscope.experiments.pcm.labels import LabelMap
from leukoscope.experiments.rows import row_folder
from leukoscope.files import save_arrays
from leukoscope.models.probabilities import softmax
from leukoscope.progress import StageProgress, of_stage
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet, join_crop_sets

HEADS = {"nearest-mean": "nearest_mean_probs", "logistic": "logistic_probs"}
METHODS = ("lp-ft", *HEADS)


def run_adaptation(
    config: StudyConfig, plan: RowPlan, study: StudyData, folder: Path, *, out: Path, progress: StageProgress
) -> dict:
    """Zero-shot on the whole target; each method with `target_share` of its cells labelled, tested on the rest."""
    from leukoscope.train.crops.predict import load_finetuned, predict_logits

    targets = study.of_role(TARGET)
    if not targets:
        raise ConfigError("this row needs a set of another laboratory: give --target")
    unknown = [m for m in plan.methods if m not in METHODS]
    if unknown:
        raise ConfigError(f"row {plan.name!r}: methods must be of {', '.join(METHODS)}, got {', '.join(unknown)}")
    target, source = targets[0], row_folder(out, plan.source)
    mapping = target.mapping
    if len(mapping.labels) < 2:
        raise DataError(f"target {target.name!r} and the study have {len(mapping.labels)} classes in common: too few")
    settings = read_finetune_config(config.folder / config.row(plan.source).config)
    network, _ = load_finetuned(source / "run")
    crops = read_crops(settings, study, target.source)
    rows, truth = rows_in(mapping, crops.class_names)
    crops = relabelled(crops.subset(rows), mapping, truth)
    val = read_predictions(source, "val")
    logits = predict_logits(network, crops)
    probs = softmax(logits, val.temperature)
    save_arrays(folder / "target.npz", logits=logits, truth=truth, files=crops.files, boxes=crops.boxes)
    groups = target.groups.of(crops.files.tolist())
    with np.load(source / "val.npz") as saved:
        sets = label_sets(val.probs, saved["labels"], probs, mapping, level=config.level)
    zero = CallSet(mapping.labels, mapping.summed(probs), truth, sets, groups, target.groups.unit)
    result = {
        "set": target.name,
        "labels": list(mapping.labels),
        "n_cells": len(truth),
        "absent": list(mapping.absent),
        "unmapped": mapping.unmapped,
        "zero_shot": score_calls(zero, level=config.level, handed=config.handed),
        "restricted": _restricted(zero, config),
    }
    draws = [draw_labelled(crops, config.target_share, seed=config.seed + d) for d in range(config.target_draws)]
    result["n_labelled"] = [len(d) for d in draws]
    result["conformal_after"] = _conformal_after(config, zero, draws)
    answers = _Answers(config, plan, study, target, crops, settings, network, folder, progress)
    result["methods"] = {m: _score_method(config, zero, draws, answers.of(m, draws)) for m in plan.methods}
    return result


def relabelled(crops: CropSet, mapping: LabelMap, truth: np.ndarray) -> CropSet:
    """Crops with labels of the common space."""
    return replace(crops, taxonomy=mapping.taxonomy("common classes"), labels=truth, unit="photograph")


def draw_labelled(crops: CropSet, share: float, *, seed: int) -> np.ndarray:
    """Rows of about `share` of the cells, drawn by whole photographs (near duplicates together), at random."""
    rng = np.random.default_rng(seed)
    names, place = np.unique(crops.groups if crops.unit == "cluster" else crops.files, return_inverse=True)
    wanted = max(round(share * len(crops)), 1)
    taken: list[np.ndarray] = []
    for group in rng.permutation(len(names)):
        if sum(map(len, taken)) >= wanted:
            break
        taken.append(np.flatnonzero(place == group))
    return np.sort(np.concatenate(taken))


@dataclass(slots=True, eq=False)
class _Answers:
    """Probabilities (R, L) of each draw's remaining cells, by method; networks and features are made once.

    crops  the target's cells in the common labels; settings, network: the source row's
    """

    config: StudyConfig
    plan: RowPlan
    study: StudyData
    target: StudySet
    crops: CropSet
    settings: FinetuneConfig
    network: object
    folder: Path
    progress: StageProgress
    _source_crops: CropSet | None = None

    def of(self, method: str, draws: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One array a draw."""
        answers = []
        for number, labelled in enumerate(draws):
            saved = self.folder / f"{method}-{number}.npz"
            if saved.is_file():
                with np.load(saved) as kept:
                    answers.append(kept["probs"])
                continue
            probs = self._tuned(number, labelled) if method == "lp-ft" else self._head(method, labelled)
            save_arrays(saved, probs=probs, labelled=labelled)
            answers.append(probs)
        return answers

    def source_crops(self) -> CropSet:
        """Training cells of the data whose class the target has, in the common labels."""
        if self._source_crops is None:
            crops = read_crops(self.settings, self.study, self.study.data.source, split="train").typed()
            label = self.target.mapping.columns[crops.labels]
            self._source_crops = relabelled(crops.subset(label >= 0), self.target.mapping, label[label >= 0])
        return self._source_crops

    def _tuned(self, number: int, labelled: np.ndarray) -> np.ndarray:
        """LP+FT on the source's cells and the labelled ones together (section 2.3.3)."""
        from leukoscope.train.crops.finetune import finetune
        from leukoscope.train.crops.predict import predict_logits

        config = self.plan.config
        settings: FinetuneConfig = read_finetune_config(self.config.folder / config) if config else self.settings
        settings = replace(settings, seed=self.config.seed + number, size=self.settings.size, arch=self.network.arch)
        source, few = self.source_crops(), self.crops.subset(labelled)
        both = join_crop_sets([replace(source, extras={}), replace(few, extras={})])
        share = self.config.target_weight
        weights = None
        if share:
            weights = np.r_[np.full(len(source), (1 - share) / len(source)), np.full(len(few), share / len(few))]
        run = finetune(
            settings, both, None, self.folder / f"lp-ft-{number}",
            sampler_weights=weights, start_from=_with_head(self.network, self.target.mapping), resume=True,
            progress=of_stage(self.progress, f"{self.plan.label} {number + 1}"),
        )  # fmt: skip
        return softmax(predict_logits(run, self.crops.subset(_rest(labelled, len(self.crops)))))

    def _head(self, method: str, labelled: np.ndarray) -> np.ndarray:
        """A small head on the source network's frozen features."""
        from leukoscope.train.adapt import heads
        from leukoscope.train.adapt.features import reduce_together
        from leukoscope.train.crops.predict import predict_features

        source = self.source_crops()
        site, home = predict_features(self.network, self.crops), predict_features(self.network, source)
        home, site = reduce_together([home], [site])
        rest = _rest(labelled, len(self.crops))
        problem = heads.SiteProblem(
            home,
            source.labels,
            site[labelled],
            self.crops.labels[labelled],
            site[rest],
            len(self.target.mapping.labels),
        )
        return getattr(heads, HEADS[method])(problem)


def _with_head(network, mapping: LabelMap) -> dict:
    """The network's weights with a head of the common labels: of each, the mean of the classes it gathers."""
    import torch

    state = {k: v.detach().clone() for k, v in network.state_dict().items()}
    columns = [np.flatnonzero(mapping.columns == label) for label in range(len(mapping.labels))]
    for key in ("head.weight", "head.bias"):
        state[key] = torch.stack([state[key][c].mean(0) for c in columns])
    return state


def _rest(labelled: np.ndarray, n: int) -> np.ndarray:
    return np.setdiff1d(np.arange(n), labelled)


def _restricted(zero: CallSet, config: StudyConfig) -> dict:
    """Zero-shot among the target's classes only: what an adapted classifier is told, and no site knows beforehand."""
    calls = zero.probs[:, :-1].argmax(1)
    return _two_numbers(zero.truth, calls, len(zero.labels), zero.groups, zero.unit)


def _two_numbers(truth, calls, n_labels: int, groups, unit: str) -> dict:
    return {
        "accuracy": estimate(accuracy_of(truth, calls), groups, unit=unit).to_dict(),
        "macro_f1": estimate(macro_f1_of(truth, calls, n_labels), groups, unit=unit).to_dict(),
    }


def _score_method(
    config: StudyConfig, zero: CallSet, draws: Sequence[np.ndarray], answers: Sequence[np.ndarray]
) -> dict:
    """Accuracy and macro-F1 on the rest over all draws, and the paired gain over zero-shot on the same cells."""
    n, n_labels = len(zero.truth), len(zero.labels)
    parts, gains, f1_gains, f1s = [], [], [], []
    before_all = zero.probs[:, :-1].argmax(1)
    matrix = np.zeros((n_labels, n_labels), np.int64)
    for labelled, probs in zip(draws, answers, strict=True):
        rest = _rest(labelled, n)
        truth, groups, calls, before = zero.truth[rest], zero.groups[rest], probs.argmax(1), before_all[rest]
        right, earlier = accuracy_of(truth, calls), accuracy_of(truth, before)
        f1, f1_before = macro_f1_of(truth, calls, n_labels), macro_f1_of(truth, before, n_labels)
        parts.append((right, groups))
        f1s.append((f1, groups))
        gains.append((lambda r, a=right, b=earlier: a(r) - b(r), groups))
        f1_gains.append((lambda r, a=f1, b=f1_before: a(r) - b(r), groups))
        np.add.at(matrix, (truth, calls), 1)
    made = {"accuracy": parts, "macro_f1": f1s, "gain_accuracy": gains, "gain_macro_f1": f1_gains}
    options = {"unit": zero.unit, "n_resamples": config.resamples, "seed": config.seed}
    numbers = {name: over_draws(of, **options).to_dict() for name, of in made.items()}
    each = [float(statistic(np.arange(len(groups)))) for statistic, groups in parts]
    return numbers | {"by_draw": each, "confusion": matrix.tolist()}


def over_draws(
    parts: Sequence[tuple[Callable[[np.ndarray], float], np.ndarray]], *, unit: str, n_resamples: int, seed: int = 0
) -> Estimate:
    """A number measured on several draws of labelled cells: its mean, and limits over draws and groups together.

    Each resample takes one draw at random and resamples its groups: the limits hold for one draw, as a laboratory
    makes it, and not for the mean of many.
    """
    rng = np.random.default_rng(seed)
    members = []
    for _, groups in parts:
        _, place = np.unique(groups, return_inverse=True)
        members.append(np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1]))
    values = []
    for _ in range(n_resamples):
        number = int(rng.integers(len(parts)))
        rows = members[number]
        drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        values.append(parts[number][0](drawn))
    whole = [statistic(np.arange(len(groups))) for statistic, groups in parts]
    kept = [v for v in values if np.isfinite(v)]
    enough = kept and min(map(len, members)) > 1
    low, high = np.quantile(kept, [0.025, 0.975]) if enough else (np.nan, np.nan)
    n = round(float(np.mean([len(g) for _, g in parts])))
    return Estimate(float(np.mean(whole)), float(low), float(high), n, min(map(len, members)), unit)


def _conformal_after(config: StudyConfig, zero: CallSet, draws: Sequence[np.ndarray]) -> dict:
    """Coverage on the rest of the target, of sets whose thresholds come from the labelled cells instead."""
    from leukoscope.evaluate.conformal import conformal_sets

    shares = zero.probs[:, :-1] + 1e-9
    shares = shares / shares.sum(1, keepdims=True)
    parts, sizes = [], []
    for labelled in draws:
        rest = _rest(labelled, len(zero.truth))
        sets = conformal_sets(shares[labelled], zero.truth[labelled], shares[rest], level=config.level)
        held, size = sets[np.arange(len(rest)), zero.truth[rest]], sets.sum(1)
        parts.append((lambda r, v=held: float(v[r].mean()), zero.groups[rest]))
        sizes.append((lambda r, v=size: float(v[r].mean()), zero.groups[rest]))
    options = {"unit": zero.unit, "n_resamples": config.resamples, "seed": config.seed}
    return {"coverage": over_draws(parts, **options).to_dict(), "size": over_draws(sizes, **options).to_dict()}


__all__ = ["METHODS", "StudySet", "draw_labelled", "over_draws", "run_adaptation"]

"""Join two finished classifiers into one: the trunk that sees colour, and a second one that does not.

What misleads one on a new stain seldom misleads the other. Their logits are averaged, with a share that is chosen on
validation cells, by one last layer over what both trunks hear; a laboratory can adapt that layer as any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError
from leukoscope.evaluate.calibration import fit_temperature, negative_log_likelihood
from leukoscope.files import write_json
from leukoscope.models.bundle import CropRule
from leukoscope.models.torch_classifier import CellClassifier, fewer_pixels, fewer_side
from leukoscope.models.torch_onnx import round_to_half
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.checkpoint import run_mark, save_checkpoint
from leukoscope.train.classifier.bundle import crops_by_rule, read_classifier, restain
from leukoscope.train.classifier.config import check_nearness

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the second classifier's logits
_WORDS = ("name", "temperature", "nearness", "prior", "thresholds", "description", "limits")
N_RESTAINED = 3  # times that the validation cells are shown in other stains


@dataclass(frozen=True, slots=True)
class JoinConfig:
    """Settings of a join (a TOML file with these keys and task = "join"): folders of two finished runs."""

    name: str
    first: str  # sees colour; its crops, words and card are the joined classifier's
    second: str  # a run with grey = true of the same taxonomy, padding and nucleus density
    share: float | None = None  # of the second's logits; None: chosen on validation
    temperatures: tuple = ()  # of the two runs' logits before they are mixed; (): fitted on validation
    seed: int = 0
    temperature: float | None = None  # of the bundle; None: set on the validation fields
    nearness: dict = field(default_factory=dict)  # as a run's own (`ClassifierConfig`)
    prior: dict = field(default_factory=dict)  # class → what is added to its logit in the bundle
    thresholds: dict = field(default_factory=dict)  # of the bundle's card
    description: str = ""
    limits: tuple = ()


def join_classifiers(
    config: JoinConfig,
    run: Path,
    validation: Sequence[Dataset],
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> list[dict]:
    """Write the joined run's `last.pt` and `run.json` into folder `run`; returns a row for each share tried.

    validation  fields that neither run trained on. Each classifier's logits are first divided by its own temperature,
                then the share with the least mean negative log likelihood is taken, half by the cells as they are and
                half by the same restained.
    resume      a run that is there is joined anew: it takes minutes, and nothing of it is kept on the way
    """
    run_mark(run, "last.pt", resume=resume)
    first, record = read_classifier(config.first)
    second, other = read_classifier(config.second)
    _require_alike(config, record["config"], other["config"])
    check_nearness(config.nearness)
    temperatures, rows = list(config.temperatures), [{"share": config.share}]
    if config.share is None or not temperatures:
        temperatures, rows = _tried(config, (first, second), record["config"], validation, progress)
    best = min(rows, key=lambda r: r.get("as_it_is", 0.0) + r.get("restained", 0.0))
    joined = joined_network(first, second, share=best["share"], temperatures=temperatures)
    run.mkdir(parents=True, exist_ok=True)
    words = {key: getattr(config, key) for key in _WORDS}
    record |= {
        "config": record["config"] | words,
        "joined": {"share": best["share"], "temperatures": temperatures, "tried": rows, "second": other},
    }
    write_json(run / "run.json", record)
    save_checkpoint(run / "last.pt", {"model": joined.state_dict()})
    return rows


def _tried(
    config: JoinConfig,
    networks: Sequence[CellClassifier],
    settings: dict,
    validation: Sequence[Dataset],
    progress: Progress,
) -> tuple[list[float], list[dict]]:
    """The two temperatures, and each share tried with its losses."""
    n_restained = N_RESTAINED if config.share is None else 0  # a share that is stated needs no choice
    cells = _validation_views(settings, validation, n_restained, seed=config.seed)
    total, logits = 2 * len(cells.crops), [[], []]
    for network, of_network in zip(networks, logits, strict=True):
        for crops in cells.crops:
            of_network.append(_logits(network, crops, cells.diameters, fewer=network is networks[1]))
            progress(sum(map(len, logits)), total)
    fitted = [fit_temperature(np.concatenate(z), np.tile(cells.truth, len(z))) for z in logits]
    temperatures, rows = list(config.temperatures) or fitted, []
    for share in SHARES if config.share is None else (config.share,):
        mixed = [(1 - share) * a / temperatures[0] + share * b / temperatures[1] for a, b in zip(*logits, strict=True)]
        losses = [negative_log_likelihood(z, cells.truth) for z in mixed]
        rows.append({"share": share, "as_it_is": losses[0], "restained": float(np.mean(losses[1:] or [0.0]))})
    return temperatures, rows


def joined_network(
    first: CellClassifier, second: CellClassifier, *, share: float, temperatures: Sequence[float]
) -> CellClassifier:
    """One network whose logits are (1 - share) · first / its temperature + share · second / its temperature.

    Weights of convolutions are rounded to sixteen bits, which is how the bundle stores them.
    """
    n_values = first.attributes.out_features if first.attributes is not None else 0
    network = CellClassifier(first.fc.out_features, n_values=n_values, pretrained=False, joined=True)
    state = {k: v for k, v in first.state_dict().items() if not k.startswith("fc.")}
    state |= {f"second.{k}": v for k, v in second.state_dict().items() if k.startswith(("features.", "diameter."))}
    parts = [(first.fc, (1 - share) / temperatures[0]), (second.fc, share / temperatures[1])]
    state["fc.weight"] = torch.cat([layer.weight * scale for layer, scale in parts], 1)
    state["fc.bias"] = sum(layer.bias * scale for layer, scale in parts)
    network.load_state_dict(state)
    round_to_half(network)
    return network.eval()


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """Crops (N, S, S, 3) in several stains, diameters (N,) and columns (N,) of the same cells."""

    crops: list[np.ndarray]
    diameters: np.ndarray
    truth: np.ndarray


def _validation_views(config: dict, validation: Sequence[Dataset], n_restained: int, *, seed: int) -> _Views:
    rule = CropRule(size=config["size"], pad_fraction=config["pad_fraction"])
    crops, diameters, truth = crops_by_rule(validation, read_taxonomy(config["taxonomy"]), rule)
    views = [crops, *(restain(crops, seed=seed + k) for k in range(n_restained))]
    return _Views([match_nuclei(v, config["nucleus_density"]) for v in views], diameters, truth)


def _require_alike(config: JoinConfig, first: dict, second: dict) -> None:
    for key in ("taxonomy", "pad_fraction", "nucleus_density"):
        if first[key] != second[key]:
            raise ConfigError(
                f"{config.first} and {config.second} can't be joined: {key} is {first[key]!r} and {second[key]!r}"
            )
    if first.get("grey") or not second.get("grey"):
        raise ConfigError(f"a join needs a first run that sees colour and a second with grey = true: {config.second}")
    shown = fewer_side(first["size"])
    if second["size"] != shown:
        raise ConfigError(
            f"{config.second} was trained on crops of {second['size']} px; beside a first of {first['size']} px it is "
            f"shown {shown} px"
        )
    if config.share is not None and not 0 <= config.share <= 1:
        raise ConfigError(f"share must lie between 0 and 1, got {config.share}")
    if config.temperatures and (len(config.temperatures) != 2 or min(config.temperatures) <= 0):
        raise ConfigError(f"temperatures must be two positive numbers, got {list(config.temperatures)}")


@torch.no_grad()
def _logits(network: CellClassifier, crops: np.ndarray, diameters: np.ndarray, *, fewer: bool) -> np.ndarray:
    """(N, C) of crops (N, S, S, 3), at fewer pixels where the second trunk will see them so."""
    parts = []
    for i in range(0, len(crops), 64):
        pixels, of_cells = torch.from_numpy(crops[i : i + 64]), torch.from_numpy(diameters[i : i + 64])
        parts.append(network(fewer_pixels(pixels) if fewer else pixels, of_cells).numpy())
    return np.concatenate(parts)

"""The classifier's network as training begins, how fast its parts learn, and the weights that ship."""

import copy
from pathlib import Path

import torch

from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.torch_classifier import POOLED, CellClassifier
from leukoscope.taxonomy import read_attribute_set, read_taxonomy
from leukoscope.train.adapt.network import read_network
from leukoscope.train.checkpoint import read_average, start_from
from leukoscope.train.classifier.config import ClassifierConfig
from leukoscope.train.optimizers import adamw


def first_network(config: ClassifierConfig, device: torch.device) -> CellClassifier:
    """The network as training begins, on the device."""
    described = read_attribute_set(config.attributes) if config.attributes else None
    model = CellClassifier(
        len(read_taxonomy(config.taxonomy).names),
        n_values=described.n_values if described else 0,
        grey=config.grey,
        norms=config.norms == "trained",
    ).to(device, memory_format=torch.channels_last)
    if config.init_from:
        state = start_weights(config.init_from)
        start_from(model, state, source=config.init_from, may_differ=("attributes.", "second.", "fc."))
    for part in (model.features.stem, *model.features.blocks[: config.frozen_blocks]):
        part.requires_grad_(not config.frozen_blocks)
    return model


def make_optimizer(model: CellClassifier, config: ClassifierConfig) -> torch.optim.Optimizer:
    """AdamW; the layers that start from chance and the diameter's, two numbers beside 1,392, at their own rate."""
    described = model.attributes.parameters() if model.attributes is not None else ()
    head = [*model.fc.parameters(), *model.diameter.parameters(), *described]
    backbone = [p for p in model.features.parameters() if p.requires_grad]
    groups = [
        {"params": head, "lr": config.learning_rate * config.head_rate},
        {"params": [p for p in backbone if p.dim() > 1], "lr": config.learning_rate},
        {"params": [p for p in backbone if p.dim() <= 1], "lr": config.learning_rate, "weight_decay": 0.0},
    ]
    return adamw(groups, weight_decay=config.weight_decay)


def shipped_weights(config: ClassifierConfig, model: CellClassifier, average: dict) -> dict:
    """The averaged weights with the normalisation folded in, mixed with those that the run began from."""
    if config.norms == "trained":
        averaged = copy.deepcopy(model).requires_grad_(False)
        averaged.load_state_dict(average)
        average = averaged.folded().state_dict()
    return mix_with_start(average, start_weights(config.init_from), config) if config.start_share else average


def start_weights(source: str) -> dict:
    """Weights of a run folder, or of the classifier of a model folder or bundled model; of two trunks the first."""
    if (Path(source) / "last.pt").is_file() or (Path(source) / "run.json").is_file():
        return read_average(source)
    network = read_network(part_of_model(find_model(source), "classify"))
    state = {k: v for k, v in network.state_dict().items() if not k.startswith(("second.", "nearness."))}
    return state | {"fc.weight": network.fc.weight.detach()[:, :POOLED]}


def mix_with_start(average: dict, start: dict, config: ClassifierConfig) -> dict:
    """Weights between those that the run began from and those it reached: a short last stage gains at home and loses
    elsewhere, and the mean of both does better than either (Wortsman et al., Robust fine-tuning, CVPR 2022)."""
    return {
        key: torch.lerp(value, start[key].to(value), config.start_share)
        if key in start and value.is_floating_point()
        else value
        for key, value in average.items()
    }

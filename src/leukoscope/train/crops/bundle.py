"""Make a classifier bundle out of a fine-tuning run: the ONNX graph, the temperature, the card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leukoscope.errors import DataError, ModelError
from leukoscope.evaluate.calibration import fit_temperature
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1
from leukoscope.models.bundle import CropRule, write_card
from leukoscope.models.quantise import write_int8
from leukoscope.models.torch_backbones import CropNetwork
from leukoscope.models.torch_onnx import export_graph, round_to_half
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.predict import load_finetuned, predict_logits
from leukoscope.train.run_folder import CARD, ONNX, begin_card

MOST_PARAMETERS = 500_000_000  # an ONNX file holds 2 GB
MOST_LOST = 0.005  # of macro-F1 and accuracy, for a quarter of the file and of the time
_N_CHECKED = 8  # crops that the two are compared on


def export_finetuned(
    run: str | Path,
    out: str | Path,
    *,
    validation: CropSet,
    command: str = "",
    commit: str = "",
    results: Sequence[dict] = (),
    which: str = "best",
) -> Path:
    """Write `card.json` and `model.onnx` of a run into folder `out`; returns `out`.

    validation       cells that the run did not train on, cut as its own were: they set the temperature, fill the
                     card's confusion matrix, and show that the graph computes what torch computes
    command, commit  what trained the run; results: measured rows, for the card
    which            "best" or "last" weights
    """
    network, record = load_finetuned(run, which)
    own_rule, own_taxonomy = CropRule(**record["crop"]), Taxonomy.from_dict(record["taxonomy"])
    if validation.rule != own_rule:
        raise ModelError(f"{run} was trained with another crop rule or taxonomy than it is to be exported with")
    validation = validation.typed()
    if not len(validation) or validation.taxonomy != own_taxonomy:
        raise DataError("the temperature needs validation cells with classes of the run's taxonomy")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config = record["config"]
    if config.get("half_weights"):
        fuse_norms(network.eval())  # else the exporter does it, and the weights that were rounded are no more
        round_to_half(network)
    logits = predict_logits(network, validation)  # before the network leaves the accelerator
    halved = bool(config.get("half_weights"))
    write_onnx(network, out / ONNX, checked=validation.crops[:_N_CHECKED], halved=halved)
    eight_bits, logits = None, np.asarray(logits)
    if config.get("int8") == "auto":
        eight_bits, logits = try_int8(out / ONNX, validation, logits)
    training = {
        "data": record["train"],
        "temperature_chosen_on": record["val"] or {"cells": validation.counts()},
        "environment": record["environment"],
        "pretrained": config["weights"] or "none",
    }
    card = begin_card(
        record,
        out,
        task="classify",
        size=config["size"],
        training=training | ({"int8": eight_bits} if eight_bits else {}),
        white_balance=record["white_balance"],
        taxonomy=own_taxonomy,
        crop=own_rule,
        temperature=1.0,
        words={"command": command, "commit": commit, "results": results},
    )
    matrix = confusion_matrix(validation.labels, logits.argmax(1), n_classes=len(own_taxonomy.names))
    confusion = {"rows": "truth", "columns": "pred", "names": list(own_taxonomy.names), "counts": matrix.tolist()}
    temperature = round(fit_temperature(logits, validation.labels), 4)
    write_card(replace(card, temperature=temperature, confusion=confusion), out / CARD)
    return out


def try_int8(path: Path, validation: CropSet, logits: np.ndarray) -> tuple[dict, np.ndarray]:
    """Put an ONNX file in eight bits in the place of `path` if that costs at most MOST_LOST on validation cells.

    logits  (N, C) of the file as it is. Returns what was found, and the logits of the file that is there now.
    """
    trial = path.with_name("int8.onnx")
    kind = write_int8(path, trial)
    rounded = _logits_of(trial, validation.crops)
    entry = {"kind": kind, "n_cells": len(validation)}
    for name, measure in (("macro_f1", macro_f1), ("accuracy", accuracy)):
        for bits, values in (("float", logits), ("int8", rounded)):
            matrix = confusion_matrix(validation.labels, values.argmax(1), n_classes=logits.shape[1])
            entry[f"{name}_{bits}"] = round(float(measure(matrix)), 4)
    entry["kept"] = all(entry[f"{m}_int8"] >= entry[f"{m}_float"] - MOST_LOST for m in ("macro_f1", "accuracy"))
    if not entry["kept"]:
        trial.unlink()
        return entry, logits
    trial.replace(path)
    return entry, rounded


def _logits_of(path: Path, crops: np.ndarray, batch: int = 32) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = [session.run(["logits"], {"pixels": crops[i : i + batch]})[0] for i in range(0, len(crops), batch)]
    return np.concatenate(parts)


def fuse_norms(network: nn.Module) -> None:
    """Work each batch normalisation that follows a convolution into it, in place; the network must be evaluating."""
    for part in network.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for number, (first, second) in enumerate(zip(list(part), list(part)[1:], strict=False)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                part[number], part[number + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def fits_one_file(network: CropNetwork) -> bool:
    """Whether a bundle can hold the network: its ONNX file must stay below 2 GB."""
    return sum(p.numel() for p in network.parameters()) <= MOST_PARAMETERS


def write_onnx(
    network: CropNetwork, path: str | Path, *, checked: np.ndarray | None = None, halved: bool = False
) -> None:
    """Write ONNX: input "pixels" uint8 (N, S, S, 3), outputs "logits" (N, C) and "features" (N, D), what the head
    hears; normalisation is inside.

    checked  crops (N, S, S, 3) that the graph is compared with torch on (None: noise); halved: see `store_halved`
    """
    if not fits_one_file(network):
        raise ModelError(
            f"{network.arch} has more than {MOST_PARAMETERS / 1e6:.0f} million weights, more than one ONNX file holds: "
            f"evaluate it from its run folder, or train a smaller one for a bundle"
        )
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)
    if hasattr(network.trunk.net, "set_attn_implementation"):
        network.trunk.net.set_attn_implementation("eager")  # plain products: the same numbers, any ONNX runtime
    example = (torch.zeros(2, network.size, network.size, 3, dtype=torch.uint8),)
    how = {"rows": True, "traced": True, "halved": halved, "checked": None if checked is None else (checked,)}
    export_graph(_Heard(network), example, path, inputs=("pixels",), outputs=("logits", "features"), **how)


class _Heard(nn.Module):
    """A network whose forward also gives the features that its head hears, for the exporter."""

    def __init__(self, network: CropNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.network.features(pixels)
        return self.network.head(features), features

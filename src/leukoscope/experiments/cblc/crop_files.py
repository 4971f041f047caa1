"""Crop sets on disk, so that a resumed study cuts nothing twice; and their stain."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from leukoscope.crop import match_nuclei
from leukoscope.files import write_whole
from leukoscope.images.color import optical_density
from leukoscope.models.bundle import CropRule
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.data import CropSet

_COLUMNS = ("crops", "labels", "groups", "class_names", "files", "boxes")
_SAMPLE = 400  # crops that the median stain is taken from


def save_crops(path: Path, crops: CropSet) -> None:
    """One npz, put in its place in one step."""
    head = {"rule": asdict(crops.rule), "white_balance": crops.white_balance, "unit": crops.unit}
    head |= {"sources": list(crops.sources)}
    columns = {name: getattr(crops, name) for name in _COLUMNS}
    extras = {f"extra_{name}": values for name, values in crops.extras.items()}
    with write_whole(path, "wb") as file:
        np.savez(file, head=np.array(json.dumps(head)), **columns, **extras)


def load_crops(path: Path, taxonomy: Taxonomy) -> CropSet:
    """The inverse of `save_crops`."""
    with np.load(path, allow_pickle=False) as held:
        head = json.loads(str(held["head"]))
        extras = {name.removeprefix("extra_"): held[name] for name in held.files if name.startswith("extra_")}
        return CropSet(
            **{name: held[name] for name in _COLUMNS},
            unit=head["unit"],
            taxonomy=taxonomy,
            rule=CropRule(**head["rule"]),
            white_balance=head["white_balance"],
            sources=tuple(head["sources"]),
            extras=extras,
        )


def join_crops(first: CropSet, second: CropSet) -> CropSet:
    """Both sets as one; shape and texture of the second are left out, for they were scaled on other cells."""
    extras = {name: np.concatenate([first.extras[name], second.extras[name]]) for name in first.extras}
    if "morphology" in extras:
        extras["morphology"][len(first) :] = np.nan
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _COLUMNS}
    return replace(first, **columns, extras=extras)


def with_stain(crops: CropSet, density: tuple[float, float, float]) -> CropSet:
    """The set as `analyze` would stain it under a rule with this density of nuclei."""
    rule = replace(crops.rule, nucleus_density=density)
    return replace(crops, crops=match_nuclei(crops.crops, density), rule=rule)


def median_density(crops: np.ndarray) -> tuple[float, float, float]:
    """Median optical density (R, G, B) of nuclei over crops (N, S, S, 3), each measured as `match_nuclei` does.

    The nucleus is the darkest fifth of a crop's middle.
    """
    rows = np.linspace(0, len(crops) - 1, min(len(crops), _SAMPLE)).astype(int)
    size = crops.shape[1]
    middle = slice(round(0.22 * size), round(0.78 * size), 2)
    densities = []
    for crop in crops[rows]:
        pixels = crop[middle, middle].reshape(-1, 3)
        od = optical_density(pixels[pixels.max(1) > 12], np.float64)
        if len(od):
            total = od.sum(1)
            densities.append(od[total >= np.quantile(total, 0.8)].mean(0))
    return tuple(round(float(v), 3) for v in np.maximum(np.median(densities, axis=0), 0.05))

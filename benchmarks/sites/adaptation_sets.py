"""What the benchmarks of adaptation share: the cells of the sites and of the source, and how some are labelled.

Sites: five types (a band or segmented cell is a neutrophil), every cell of a known type; of bccd only photographs of
one white cell whose type is stated, as in classify_accuracy.py. The source is the train split of pbc, which the bundled
classifier learnt from; no site's cell was trained on. "pbc-val" and "pbc-test": that split's ten subtypes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.public_sets import import_public
from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import TruthField
from leukoscope.evaluate.coarse import FIVE_TYPES, TYPES
from leukoscope.models.bundle import CropRule
from leukoscope.taxonomy import TAXONOMIES, Taxonomy
from leukoscope.train.adapt.cells import read_site_cells
from leukoscope.train.classifier.data import NOT_WHITE
from leukoscope.train.crops.data import CropSet

SITES = ("jtsc", "cellavision", "bccd")
RULE = CropRule(size=160, pad_fraction=0.25)  # the bundled classifier's, before its stain matching
BOX_SHARE = 1 / 1.5
PER_CLASS = {  # of pbc's train split, drawn by seed: enough to know its types, few enough for a processor
    "band_neutrophil": 80, "segmented_neutrophil": 80, "neutrophil": 10,
    "lymphocyte": 160, "monocyte": 160, "eosinophil": 160, "basophil": 100,
}  # fmt: skip
BLOOD_12 = TAXONOMIES["blood-12"]
# Its val split needs probabilities only; its test split is a new site to ImageNet's network only.
TRUNKS = {"pbc-val": slice(0), "pbc-test": slice(1, 2)}
FIVE = Taxonomy(name="five types", names=TYPES, counted=TYPES)


def read_cells(name: str, data: str | Path, work: str | Path) -> CropSet:
    """Typed cells of a site ("pbc": the source), in five types; of "pbc-val" and "pbc-test" in the model's classes."""
    dataset = import_public(name.split("-")[0], data, work)
    if "-" in name:
        split = name.split("-")[1]
        return read_site_cells(dataset, RULE, taxonomy=BLOOD_12, keep=lambda f: f.split == split).typed()
    kept = {f.key.field_id for f in dataset.fields if _is_single(f)} if name == "bccd" else None
    if name == "pbc":
        kept = _drawn([f for f in dataset.fields if f.split == "train"])
    cells = read_site_cells(dataset, RULE, taxonomy=FIVE, keep=lambda f: kept is None or f.key.field_id in kept)
    return cells.typed()


def draw_tenth(labels: np.ndarray, share: float, *, seed: int, stratified: bool) -> np.ndarray:
    """(N,) bool: the labelled cells.

    stratified  of each class `share` of its cells, rounded, at least one where it has two or more (jtsc 30,
                cellavision 11, bccd 34 at a tenth)
    plain       as many cells as that gives, drawn from all
    """
    rng = np.random.default_rng((11 if stratified else 12, seed))
    by_class = []
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        n = max(round(share * len(rows)), int(len(rows) >= 2))
        by_class.append(rng.permutation(rows)[:n])
    picked = np.concatenate(by_class)
    if not stratified:
        picked = rng.permutation(len(labels))[: len(picked)]
    mask = np.zeros(len(labels), bool)
    mask[picked] = True
    return mask


def matched(cells: CropSet, density: tuple[float, float, float] | None) -> np.ndarray:
    """The crops as the classifier sees them."""
    return match_nuclei(cells.crops, density)


def type_columns(taxonomy: Taxonomy) -> np.ndarray:
    """(5, C) bool: the classes of a fine taxonomy that each of the five types may be."""
    return np.array([[name in members for name in taxonomy.names] for members in FIVE_TYPES.values()])


def _is_single(field: TruthField) -> bool:
    return len([c for c in field.cells if c.class_name not in NOT_WHITE]) == 1


def _drawn(fields: list[TruthField]) -> set[str]:
    order, kept = np.random.default_rng(0).permutation(len(fields)), set()
    for name, n in PER_CLASS.items():
        kept |= set([fields[i].key.field_id for i in order if fields[i].cells[0].class_name == name][:n])
    return kept


def embedded(name: str, data: str | Path, cache: Path, work: str | Path) -> dict[str, np.ndarray]:
    """Features of a set's cells, made once and kept in `cache`/`name`.npz.

    classifier_0..5, imagenet_0..5  blocks of `features.embed`; last (N, 1424) what the bundled classifier's
    last layer hears; probs (N, 12) its probabilities; labels, files, diameters, crops
    """
    path = cache / f"{name}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        cells = read_cells(name, data, work)
        kept = {"labels": cells.labels, "files": cells.files, "diameters": cells.extras["diameter_um"]}
        np.savez(path.with_suffix(".part.npz"), **kept, crops=cells.crops, **_features(name, cells))
        path.with_suffix(".part.npz").rename(path)
    with np.load(path) as kept:
        return {key: kept[key] for key in kept.files}


def _features(name: str, cells: CropSet) -> dict[str, np.ndarray]:
    import torch

    from leukoscope.models.bundle import find_model
    from leukoscope.train.adapt.features import classifier_trunk, embed, imagenet_trunk
    from leukoscope.train.adapt.network import read_network
    from leukoscope.train.adapt.site_head import last_features

    torch.set_num_threads(1)
    bundle = find_model("blood")["classify"]
    network, density = read_network(bundle), bundle.card.crop.nucleus_density
    last, logits = last_features(network, cells.crops, cells.extras["diameter_um"], density=density)
    z = np.exp((logits - logits.max(1, keepdims=True)) / bundle.card.temperature)
    out = {"last": last, "probs": z / z.sum(1, keepdims=True)}
    trunks = [classifier_trunk(network, name="classifier", density=density), imagenet_trunk()]
    for trunk in trunks[TRUNKS.get(name, slice(None))]:
        turns = 4 if name in SITES and trunk.name == "classifier" else 2
        blocks = embed(trunk, cells.crops, box_share=BOX_SHARE, turns=turns)
        out |= {f"{trunk.name}_{i}": block for i, block in enumerate(blocks)}
    return out

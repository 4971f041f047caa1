"""Teach a finished classifier that smudges, stain deposits and cut cells are artefacts, from drawings.

No public set that could be used has smudge cells, and a network that never saw one calls it lymphoblast with great
confidence. The last layer alone is fitted anew: to drawn artefacts (`leukoscope simulate`) as what they are, and to
everything else, real training cells as training shows them and the other drawn cells, as the classifier calls it now.
So drawings as such teach nothing, and real cells keep their calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.models.bundle import CropRule
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.adapt.heads import logistic_weights, softmax, with_one
from leukoscope.train.adapt.site_head import last_features, old_weights
from leukoscope.train.classifier import ClassifierConfig, chosen_fields, make_batch, sampling_weights
from leukoscope.train.classifier_data import fit_colour_match, load_cells
from leukoscope.train.classifier_export import crops_by_rule

DRAWN = "simulate"  # a drawn data set's source_format
ARTEFACTS = ("smudge_cell", "artefact", "other")  # in drawn sets "other" is a smudge, a deposit or a cell cut off
NO_CELL = ("red_cell", "platelet")
PULL = 0.03  # to the old layer; from 0.01 to 0.3 drawn smudges fare the same, and this changes fewest real cells' calls
BATCHES = 50  # of real cells
_SHARES = {True: 2.0, False: 0.5}  # what a drawn artefact and another drawn cell weigh beside a real cell


@torch.no_grad()
def teach_artefacts(
    network: CellClassifier, config: ClassifierConfig, training: Sequence[Dataset], drawn: Sequence[Dataset]
) -> dict:
    """Fit `network`'s last layer in place; returns how many drawn artefacts it called so before and after, and the
    share of real training cells whose call changed.

    config    of the run that the crops are made by; training: its data sets, of which the fields that it saw are used
    drawn     rendered data sets; DataError where they hold no artefact, or the taxonomy has no class for one
    """
    taxonomy = read_taxonomy(config.taxonomy)
    if not taxonomy.artefacts:
        raise DataError(f"taxonomy {taxonomy.name!r} has no artefact class that drawn smudges could teach")
    column, old = taxonomy.index(taxonomy.artefacts[0]), old_weights(network)
    real = _real_features(network, config, training)
    heard, is_artefact = _drawn_features(network, config, drawn)
    if not is_artefact.any():
        raise DataError(f"no smudge or artefact in {', '.join(d.name for d in drawn)}: draw more patients")
    features = np.concatenate([real, heard])
    wanted = softmax(with_one(features) @ old)
    taught = np.concatenate([np.zeros(len(real), bool), is_artefact])
    wanted[taught] = np.eye(len(taxonomy.names))[column]
    shares = np.concatenate([np.ones(len(real)), np.where(is_artefact, _SHARES[True], _SHARES[False])])
    new = logistic_weights(features, wanted, penalty=PULL, weights=shares, start=old)
    before, after = ((with_one(features) @ weights).argmax(1) for weights in (old, new))
    network.fc.weight.copy_(torch.from_numpy(new[:-1].T.astype(np.float32)))
    network.fc.bias.copy_(torch.from_numpy(new[-1].astype(np.float32)))
    return {
        "drawn": [{"name": d.name, "sha256": d.sha256()} for d in drawn],
        "n_artefacts": int(taught.sum()),
        "called_so_before": int((before[taught] == column).sum()),
        "called_so_after": int((after[taught] == column).sum()),
        "real_calls_changed": round(float((before != after)[: len(real)].mean()), 4),
        "pull": PULL,
    }


def _real_features(network: CellClassifier, config: ClassifierConfig, training: Sequence[Dataset]) -> np.ndarray:
    """(N, F) of training cells, dressed and coloured as in training."""
    store = load_cells(
        [chosen_fields(d, config) for d in training],
        read_taxonomy(config.taxonomy),
        class_sets=config.class_sets,
        um_per_px=config.um_per_px,
        seed=config.seed,
    )
    match, weights = fit_colour_match(store, config.seed), sampling_weights(store)
    parts = []
    for step in range(config.steps, config.steps + BATCHES):  # batches that training did not draw
        pixels, diameters, _, _ = make_batch(store, match, config, weights, step)
        parts.append(network.hear(pixels, diameters).numpy())
    return np.concatenate(parts)


def _drawn_features(
    network: CellClassifier, config: ClassifierConfig, drawn: Sequence[Dataset]
) -> tuple[np.ndarray, np.ndarray]:
    """(2M, F) of drawn cells, with their diameters and without, and (2M,) whether each is an artefact."""
    names = {c.class_name for d in drawn for f in d.fields for c in f.cells} - {None, *NO_CELL}
    columns = {name: int(name in ARTEFACTS) for name in names}
    rule = CropRule(size=config.size, pad_fraction=config.pad_fraction)
    crops, diameters, kinds = crops_by_rule(drawn, columns, rule)
    parts = [last_features(network, crops, d, density=config.nucleus_density)[0] for d in (diameters, 0 * diameters)]
    return np.concatenate(parts), np.tile(kinds == 1, 2)

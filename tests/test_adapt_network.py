"""A bundle read back into torch, its features, LP+FT, and a bundle again: an untrained network and tiny crops."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from data.make_bundles import make_classifier
from data.make_untrained import SIZE, make_untrained

from leukoscope.errors import DataError, ModelError
from leukoscope.models.bundle import Bundle, read_bundle
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.train.adapt.features import classifier_trunk, embed, reduce_together
from leukoscope.train.adapt.finetune import (
    SiteCells,
    SiteTuning,
    TuningCells,
    early_map,
    late_logits,
    mixed_cross_entropy,
    second_means,
    tune_to_site,
)
from leukoscope.train.adapt.network import read_network, write_adapted


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return make_untrained(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def network(bundle) -> CellClassifier:
    return read_network(bundle)


def draw_cells(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops whose middle has one of three colours, diameters, labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    colors = np.array([(90, 60, 160), (150, 150, 190), (220, 110, 90)])
    crops = rng.integers(225, 256, (n, SIZE, SIZE, 3)).astype(np.uint8)
    crops[:, 6:26, 6:26] = np.clip(colors[labels][:, None, None] + rng.normal(0, 6, (n, 20, 20, 3)), 0, 255)
    return crops, np.full(n, 9.0, np.float32), labels


def logits_of(bundle: Bundle, crops, diameters) -> np.ndarray:
    return Session(bundle).run(pixels=crops, diameter_um=diameters)[0]


def test_the_network_read_back_gives_the_bundles_logits(bundle, network):
    crops, diameters, _ = draw_cells(5)
    with torch.no_grad():
        ours = network(torch.from_numpy(crops), torch.from_numpy(diameters)).numpy()
    assert np.abs(ours - logits_of(bundle, crops, diameters)).max() < 1e-4


def test_early_and_late_are_the_whole_network(network):
    crops, diameters, _ = draw_cells(4)
    pixels, diameters = torch.from_numpy(crops), torch.from_numpy(diameters)
    with torch.no_grad():
        parts = late_logits(network, early_map(network, pixels), second_means(network, pixels), diameters)
        assert torch.allclose(parts, network(pixels, diameters), atol=1e-5)


def test_an_adapted_bundle_gives_the_tuned_networks_logits(bundle, network, tmp_path):
    crops, diameters, labels = draw_cells(4)
    cells = TuningCells(crops, diameters, np.eye(3)[labels])
    settings = SiteTuning(head_steps=2, steps=2, batch_size=4, views=2, learning_rate=1e-3)
    tuned = tune_to_site(network, SiteCells(cells), settings, density=None)
    moved = {k for k, v in tuned.state_dict().items() if not torch.equal(v, network.state_dict()[k])}
    assert "features.blocks.15._project_conv.weight" in moved
    assert not any(k.startswith(("features.stem", "features.blocks.10.")) for k in moved)
    measured = {"apl": {"cells": 5}, "likeness": {"below": 0.6, "share": 0.05, "limit": 0.15}, "flag_rates": []}
    bundle = replace(bundle, card=replace(bundle.card, clinical=measured, confusion_by_patient={"names": []}))
    written = write_adapted(bundle, tuned, tmp_path / "out", card_changes={"name": "adapted"})
    assert written.card.clinical == {"apl": {"cells": 5}} and written.card.confusion_by_patient is None
    again = read_bundle(tmp_path / "out")
    assert again.card.name == "adapted"
    assert again.card.onnx_sha256 == written.card.onnx_sha256 != bundle.card.onnx_sha256
    with torch.no_grad():
        ours = tuned(torch.from_numpy(crops), torch.from_numpy(diameters)).numpy()
    assert np.abs(ours - logits_of(again, crops, diameters)).max() < 1e-4
    assert np.abs(ours - logits_of(bundle, crops, diameters)).max() > 1e-3


def test_the_last_layer_learns_first_from_every_group_and_the_model_stays(network):
    crops, diameters, labels = draw_cells(6)
    labels = np.zeros_like(labels)  # an untrained network tells no cell from another: one class can be learnt
    before = {k: v.clone() for k, v in network.state_dict().items()}
    cells = TuningCells(crops, diameters, np.eye(3)[labels])
    soft = TuningCells(crops, diameters, np.eye(3)[labels] * 0.7 + 0.1)
    settings = SiteTuning(
        head_steps=40, steps=0, batch_size=6, views=3, learning_rate=3e-3, unlabelled_share=0.2, colour_strength=0.0
    )
    tuned = tune_to_site(network, SiteCells(cells, source=cells, unlabelled=soft), settings, density=None)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    changed = {k.split(".")[0] for k, v in tuned.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"fc", "diameter"}
    pixels, diameters, truth = torch.from_numpy(crops), torch.from_numpy(diameters), torch.from_numpy(labels)
    with torch.no_grad():
        losses = [float(torch.nn.functional.cross_entropy(n(pixels, diameters), truth)) for n in (network, tuned)]
    assert losses[1] < losses[0]


def test_mixed_cross_entropy_is_of_sets_and_of_probabilities():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]))
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    expected = (-np.log(0.8) - 0.5 * np.log(0.6) - 0.5 * np.log(0.3)) / 2
    assert float(mixed_cross_entropy(logits, targets, smoothing=0.0)) == pytest.approx(expected, rel=1e-5)


def test_features_do_not_depend_on_how_a_crop_is_turned(network):
    crops, _, labels = draw_cells(6)
    trunk = classifier_trunk(network, name="untrained")
    blocks = embed(trunk, crops, box_share=1 / 1.5)
    turned = embed(trunk, np.ascontiguousarray(np.rot90(crops, 1, (1, 2))), box_share=1 / 1.5)
    assert [b.shape for b in blocks] == [(6, 112), (6, 112), (6, 320), (6, 320), (6, 1280), (6, 1280)]
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(blocks, turned, strict=True))
    alone = embed(trunk, crops, box_share=1 / 1.5, turns=1)
    assert np.abs(alone[0] - blocks[0]).max() > 0


def test_reduced_features_keep_what_varies():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(90, 3))
    wide = hidden @ rng.normal(size=(3, 200)) + 0.01 * rng.normal(size=(90, 200))
    source, site = reduce_together([wide[:60]], [wide[60:] + 1.0], n_components=3, whiten=0.0, align=False)
    assert source.shape == (60, 3) and site.shape == (30, 3)
    # Three hidden numbers are all there is: distances survive the reduction.
    spread = wide[:60].std(0) + 1e-6
    full = np.linalg.norm((wide[0] - wide[1]) / spread) / np.sqrt(200)
    assert np.linalg.norm(source[0] - source[1]) == pytest.approx(full, rel=0.05)


def test_what_can_not_be_adapted_is_refused(bundle, network, tmp_path):
    with pytest.raises(ModelError, match="is not a classifier that can be adapted"):
        read_network(read_bundle(make_classifier(tmp_path / "colours")))
    locator = Bundle(replace(bundle.card, task="locate", thresholds={"score": 0.5, "nms_iou": 0.5}), bundle.path)
    with pytest.raises(ModelError, match="only classifiers"):
        read_network(locator)
    with pytest.raises(DataError, match="at least one labelled cell"):
        none = TuningCells(*draw_cells(0)[:2], np.zeros((0, 3)))
        tune_to_site(network, SiteCells(none), SiteTuning(), density=None)
    with pytest.raises(DataError, match="a diameter and a target each"):
        TuningCells(*draw_cells(3)[:2], np.zeros((2, 3)))
    with pytest.raises(DataError, match="1 to 8 turns"):
        embed(classifier_trunk(network, name="x"), draw_cells(1)[0], box_share=0.6, turns=9)
    with pytest.raises(DataError, match="no feature_map"):
        classifier_trunk(torch.nn.Linear(1, 1), name="x")
    assert json.loads((bundle.path / "card.json").read_text())["name"] == "untrained"

"""Imbalance, centre-border, morphology and ensembles: what each of them must do, on tiny tensors."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.errors import ConfigError, DataError

torch = pytest.importorskip("torch")

from leukoscope.train.crops import center_border, ensemble, imbalance  # noqa: E402


class PlaceNet(torch.nn.Module):
    """Pools the pixels of a 4 x 4 grid and puts a linear head on them: every place counts alike."""

    def __init__(self, n_classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3, n_classes)

    def feature_map(self, pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels.float().permute(0, 3, 1, 2) / 255, 4)

    def forward(self, pixels):
        return self.head(self.feature_map(pixels).mean((2, 3)))


def test_effective_number_weights_follow_the_paper():
    weights = imbalance.effective_number_weights(np.array([1000, 10, 0]), 0.99)
    expected = np.array([0.01 / (1 - 0.99**1000), 0.01 / (1 - 0.99**10)])
    assert weights[2] == 0
    assert np.allclose(weights[:2] / weights[1], expected / expected[1])
    assert np.isclose(weights.sum(), 2)
    assert np.allclose(imbalance.effective_number_weights(np.array([5, 50]), 0.0), 1)
    with pytest.raises(ConfigError, match="beta"):
        imbalance.effective_number_weights(np.array([5, 50]), 1.0)


def test_focal_loss_without_focus_is_torch_cross_entropy():
    torch.manual_seed(1)
    logits, labels = torch.randn(20, 3), torch.randint(0, 3, (20,))
    weights = np.array([0.5, 1.0, 2.0])
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(weights, dtype=torch.float32))
    assert torch.allclose(imbalance.focal_loss(0.0, weights)(logits, labels), expected)
    known = labels.clone()
    known[3] = -1
    rest = torch.nn.functional.cross_entropy(logits, known, ignore_index=-1)
    assert torch.allclose(imbalance.focal_loss(0.0)(logits, known), rest)
    assert imbalance.focal_loss(0.0)(logits, torch.full((20,), -1)) == 0


def test_focal_loss_looks_away_from_what_is_easy():
    easy, hard = torch.tensor([[6.0, 0.0]]), torch.tensor([[0.2, 0.0]])
    label = torch.zeros(1, dtype=torch.long)
    plain, focal = imbalance.focal_loss(0.0), imbalance.focal_loss(2.0)
    assert focal(easy, label) / plain(easy, label) < 1e-4
    assert focal(hard, label) / plain(hard, label) > 0.15


def test_balanced_sampling_draws_every_class_alike():
    labels = np.array([0] * 90 + [1] * 9 + [-1])
    weights = imbalance.balanced_sampling_weights(labels)
    assert np.isclose(weights[labels == 0].sum(), 0.5)
    assert np.isclose(weights[labels == 1].sum(), 0.5)
    assert weights[-1] == 0
    root = imbalance.balanced_sampling_weights(labels, power=0.5)
    assert np.isclose(root[labels == 0].sum() / root[labels == 1].sum(), np.sqrt(10))
    with pytest.raises(ConfigError, match="labelled"):
        imbalance.balanced_sampling_weights(np.array([-1]))


def test_imbalance_methods_are_chosen_by_name():
    labels = np.array([0, 0, 0, 1])
    assert imbalance.correct_imbalance((), labels, 2) == (None, None)
    loss, sampler = imbalance.correct_imbalance(("balanced_sampling",), labels, 2)
    assert loss is None and sampler is not None
    loss, sampler = imbalance.correct_imbalance(("effective_number", "focal"), labels, 2)
    assert sampler is None and loss(torch.zeros(4, 2), torch.as_tensor(labels)) > 0
    with pytest.raises(ConfigError, match="smote"):
        imbalance.correct_imbalance(("smote",), labels, 2)


def test_ring_shares_are_the_area_outside_the_middle():
    shares = center_border.ring_shares(4, 4, 0.25)
    assert torch.equal(shares[1:3, 1:3], torch.zeros(2, 2))
    assert shares.sum() == 12
    assert torch.isclose(center_border.ring_shares(3, 3, 0.125).mean(), torch.tensor(1 - 0.75**2))


def test_ring_evidence_finds_what_stands_in_the_border():
    net = PlaceNet()
    columns = torch.zeros(1, dtype=torch.long)
    middle, border = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    middle[:, :, 1:3, 1:3] = 1.0
    border[:, :, 0, :] = 1.0
    assert center_border.ring_share(net, middle, columns, 0.25).item() == pytest.approx(0)
    assert center_border.ring_share(net, border, columns, 0.25).item() == pytest.approx(1)


def test_swapped_borders_keep_the_middle_and_change_the_rest():
    pixels = torch.zeros(3, 32, 32, 3) + torch.tensor([0.0, 100.0, 200.0])[:, None, None, None]
    rng, donors = torch.Generator().manual_seed(0), torch.tensor([1, 2, 0])
    swapped = center_border.swap_borders(pixels, None, donors, ring=0.15, rng=rng)
    assert torch.equal(swapped[:, 12:20, 12:20], pixels[:, 12:20, 12:20])
    assert (swapped[:, 0, 0] != pixels[:, 0, 0]).all()
    masks = torch.zeros(3, 32, 32, dtype=torch.uint8)
    masks[0, 2:8, 2:8] = 255
    swapped = center_border.swap_borders(pixels, masks, donors, ring=0.15, rng=rng)
    assert torch.equal(swapped[0, 4:6, 4:6], pixels[0, 4:6, 4:6])
    assert (swapped[0, 16, 16] != pixels[0, 16, 16]).all()
    assert torch.equal(swapped[1, 16, 16], pixels[1, 16, 16])  # no mask: the disc


def test_a_neighbour_is_of_another_class_where_there_is_one():
    rng = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 1, -1])
    for _ in range(20):
        donors = center_border.choose_donors(labels, rng)
        assert all(donors[i] in (3, 4) for i in range(3)) and donors[3] != 3 and donors[4] != 4
        alike = center_border.choose_donors(torch.zeros(3, dtype=torch.long), rng)
        assert (alike != torch.arange(3)).all()


def test_border_swap_draws_the_same_for_the_same_rows_and_is_0_where_the_border_is_ignored():
    net = PlaceNet()
    pixels = (torch.rand(4, 32, 32, 3, generator=torch.Generator().manual_seed(2)) * 255).byte()
    batch = {"pixels": pixels, "labels": torch.tensor([0, 1, 2, 0]), "rows": torch.arange(4), "extras": {}}
    loss = center_border.border_swap(0.15, weight=1.0)
    features, logits = net.feature_map(pixels), net(pixels)
    assert loss(net, batch, features, logits) == loss(net, batch, features, logits)
    unlabelled = batch | {"labels": torch.full((4,), -1)}
    blind = PlaceNet()
    blind.feature_map = lambda p: torch.nn.functional.adaptive_avg_pool2d(
        p.float().permute(0, 3, 1, 2)[:, :, 12:20, 12:20] / 255, 4
    )
    own = blind(pixels)
    assert loss(blind, unlabelled, blind.feature_map(pixels), own).item() == pytest.approx(0, abs=1e-6)
    assert loss(net, unlabelled, features, logits).item() > 1e-6


def test_center_border_methods_are_chosen_by_name():
    assert center_border.center_border_losses(()) == ()
    assert len(center_border.center_border_losses(("swap", "ring"))) == 2
    with pytest.raises(ConfigError, match="cutout"):
        center_border.center_border_losses(("cutout",))


def test_an_ensemble_averages_probabilities_by_its_weights():
    a, b = np.array([[0.8, 0.2]]), np.array([[0.2, 0.8]])
    assert np.allclose(ensemble.average_probs([a, b]), [[0.5, 0.5]])
    assert np.allclose(ensemble.average_probs([a, b], (3, 1)), [[0.65, 0.35]])
    with pytest.raises(ConfigError, match="weight"):
        ensemble.average_probs([a, b], (1,))
    with pytest.raises(DataError, match="shape"):
        ensemble.average_probs([a, np.zeros((2, 2))])


def test_the_ensemble_network_gives_the_average():
    one, two = PlaceNet(), PlaceNet()
    with torch.no_grad():
        two.head.weight += 1.0
    pixels = (torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(3)) * 255).byte()
    joined = torch.softmax(ensemble.EnsembleNetwork([one, two], (1, 3))(pixels), 1)
    expected = 0.25 * torch.softmax(one(pixels), 1) + 0.75 * torch.softmax(two(pixels), 1)
    assert torch.allclose(joined, expected, atol=1e-6)


def test_morphology_of_a_disc_and_of_a_cell_with_a_lobe():
    pytest.importorskip("skimage")
    from leukoscope.train.crops.morphology import NAMES, morphology_targets, scale_targets

    y, x = np.mgrid[:64, :64]
    disc = ((x - 31.5) ** 2 + (y - 31.5) ** 2 < 20**2) * 128
    disc[(x - 31.5) ** 2 + (y - 31.5) ** 2 < 10**2] = 255
    bar = np.where((abs(y - 32) < 4) & (abs(x - 32) < 25) | (abs(x - 32) < 4) & (abs(y - 32) < 25), 128, 0)
    rng = np.random.default_rng(0)
    crops = np.stack([np.full((64, 64, 3), 120), rng.integers(40, 220, (64, 64, 3))]).astype(np.uint8)
    masks = np.stack([disc, bar, np.zeros((64, 64))]).astype(np.uint8)
    targets = morphology_targets(masks, np.concatenate([crops, crops[:1]]))
    of = {name: targets[:, i] for i, name in enumerate(NAMES)}
    assert of["area"][0] == pytest.approx(np.pi * 20**2 / 64**2, rel=0.01)
    assert of["circularity"][0] > 0.97 and of["circularity"][1] < 0.6
    assert of["solidity"][0] > 0.97 and of["solidity"][1] < 0.6
    assert of["nucleus_share"][0] == pytest.approx(0.25, abs=0.01) and np.isnan(of["nucleus_share"][1])
    assert of["texture"][0] == 0 and of["texture"][1] > 1
    assert of["density"][0] == pytest.approx(np.log(2), abs=0.01)
    assert np.isnan(targets[2]).all()
    scaled, _, _ = scale_targets(targets)
    assert np.allclose(np.nanmean(scaled[:, :3], 0), 0, atol=1e-6)


def test_the_morphology_head_is_fitted_where_it_was_measured_and_held():
    from leukoscope.train.crops.morphology import MorphologyLoss, fit_head

    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (60, 5))
    targets = np.stack([features @ [1.0, -1.0, 0.5, 0.0, 0.0] - 2, rng.normal(0, 1, 60), np.full(60, np.nan)], 1)
    targets[:7, 0] = np.nan
    head = fit_head(features, targets, ridge=1e-6)
    told = features @ head[0].T + head[1]
    assert np.allclose(told[:, 0], features @ [1.0, -1.0, 0.5, 0.0, 0.0] - 2, atol=1e-3)
    assert (told[:, 2] == 0).all()
    loss = MorphologyLoss(head, weight=2.0)
    maps = torch.from_numpy(features.astype(np.float32))[:, :, None, None].expand(-1, -1, 2, 2)
    only = np.where(np.arange(3) == 0, targets, np.nan)
    batch = {"extras": {"morphology": torch.from_numpy(only)}}
    assert loss(None, batch, maps, torch.zeros(60, 2)).item() == pytest.approx(0, abs=1e-4)
    off = {"extras": {"morphology": torch.from_numpy(only + 3)}}
    assert loss(None, off, maps, torch.zeros(60, 2)).item() == pytest.approx(2 * 2.5, abs=1e-3)
    nothing = {"extras": {"morphology": torch.full((60, 3), float("nan"))}}
    assert loss(None, nothing, maps, torch.zeros(60, 2)).item() == 0

"""DEIM's Matchability-Aware Loss against the same written out in NumPy, one query and class at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from transformers import RTDetrV2Config  # noqa: E402

from leukoscope.train.detector.matchability import matchability_loss  # noqa: E402


def written_out(logits, rows, queries, classes, iou, *, n_boxes, gamma, alpha):
    """Mean over queries of weighted binary cross-entropies, times the queries, over the boxes (DEIM, eq. 3 and 4)."""
    n_pictures, n_queries, n_classes = logits.shape
    matched = {(b, q, c): u for b, q, c, u in zip(rows, queries, classes, iou, strict=True)}
    total = 0.0
    for b in range(n_pictures):
        for c in range(n_classes):
            column = 0.0
            for q in range(n_queries):
                p = 1 / (1 + math.exp(-logits[b, q, c]))
                if (b, q, c) in matched:
                    target, weight = matched[b, q, c] ** gamma, 1.0
                else:
                    target, weight = 0.0, (1.0 if alpha is None else alpha) * p**gamma
                column -= weight * (target * math.log(p) + (1 - target) * math.log(1 - p))
            total += column / n_queries * n_queries
    return total / n_boxes


@pytest.mark.parametrize("alpha", [None, 0.75])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_equals_the_reference(seed, alpha):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (3, 7, 4))
    n = int(rng.integers(0, 6))
    places = rng.permutation(21)[:n]
    rows, queries, classes, iou = places // 7, places % 7, rng.integers(0, 4, n), rng.random(n)
    got = matchability_loss(
        torch.from_numpy(logits),
        (torch.from_numpy(rows), torch.from_numpy(queries)),
        torch.from_numpy(classes),
        torch.from_numpy(iou),
        n_boxes=max(n, 1),
        alpha=alpha,
    )
    expected = written_out(logits, rows, queries, classes, iou, n_boxes=max(n, 1), gamma=1.5, alpha=alpha)
    assert float(got) == pytest.approx(expected, rel=1e-9)


def test_the_loss_equals_the_one_that_transformers_keeps_for_deimv2():
    from transformers import Deimv2Config
    from transformers.loss.loss_deimv2 import Deimv2Loss

    config = Deimv2Config(num_labels=4, focal_loss_gamma=1.5)
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 9, 4, generator=rng)
    boxes = torch.rand(2, 9, 4, generator=rng) * 0.3 + 0.3
    targets = [
        {"class_labels": torch.tensor([1, 3]), "boxes": torch.rand(2, 4, generator=rng) * 0.3 + 0.3},
        {"class_labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)},
    ]
    nothing = torch.zeros(0, dtype=torch.long)
    indices = [(torch.tensor([4, 7]), torch.tensor([1, 0])), (nothing, nothing)]
    outputs = {"logits": logits, "pred_boxes": boxes}
    theirs = Deimv2Loss(config).loss_labels_mal(outputs, targets, indices, 2)["loss_mal"]

    from leukoscope.train.detector.matchability import MatchabilityCriterion

    class AsRtDetr:  # the settings that RT-DETR's criterion reads
        num_labels, matcher_class_cost, matcher_bbox_cost, matcher_giou_cost = 4, 2.0, 5.0, 2.0
        use_focal_loss, matcher_alpha, matcher_gamma = True, 0.25, 2.0
        weight_loss_vfl, weight_loss_bbox, weight_loss_giou, eos_coefficient = 1.0, 5.0, 2.0, 1e-4
        focal_loss_alpha, focal_loss_gamma = 0.75, 2.0

    ours = MatchabilityCriterion(AsRtDetr).get_loss("mal", outputs, targets, indices, 2)["loss_mal"]
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_a_poor_match_is_corrected_at_full_weight_and_iou_gets_no_gradient():
    """The varifocal loss would weigh an IoU of 0.05 by 0.05; here it pulls a confident score down."""
    logits = torch.full((1, 1, 1), 3.0, requires_grad=True)
    iou = torch.tensor([0.05], requires_grad=True)
    place = (torch.tensor([0]), torch.tensor([0]))
    matchability_loss(logits, place, torch.tensor([0]), iou, n_boxes=1).backward()
    assert iou.grad is None
    assert float(logits.grad) == pytest.approx(1 / (1 + math.exp(-3)) - 0.05**1.5, rel=1e-6)


def test_pictures_are_matched_as_transformers_matches_them():
    """Three pictures with 0, 2 and 5 boxes, four layers: the same pairs as one matrix over the whole batch gives."""
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    from leukoscope.train.detector.matchability import BlockMatcher

    config, rng = RTDetrV2Config(num_labels=4), torch.Generator().manual_seed(5)
    targets = [
        {"class_labels": torch.randint(0, 4, (n,), generator=rng), "boxes": torch.rand(n, 4, generator=rng) * 0.5 + 0.1}
        for n in (0, 2, 5)
    ]
    layers = [
        {"logits": torch.randn(3, 9, 4, generator=rng), "pred_boxes": torch.rand(3, 9, 4, generator=rng) * 0.5 + 0.1}
        for _ in range(4)
    ]
    layers[3]["logits"][1, 2] = torch.nan
    theirs, ours = RTDetrHungarianMatcher(config), BlockMatcher(config)
    ours.match(layers, targets)
    for layer in layers:
        for (a, b), (c, d) in zip(theirs(layer, targets), ours(layer, targets), strict=True):
            assert a.tolist() == c.tolist() and b.tolist() == d.tolist()


def test_losses_are_divided_by_the_boxes_a_process_has_on_average(monkeypatch):
    """Two processes with 1 and 5 boxes: each divides by 3, as one process would by 6 and then halve."""
    from leukoscope.train.detector import matchability

    targets = [{"class_labels": torch.tensor([2]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]])}]
    assert matchability._mean_boxes_over_own(targets) == 1.0
    for name, value in {"is_initialized": True, "get_world_size": 2}.items():
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda total: total.add_(5))
    assert matchability._mean_boxes_over_own(targets) == pytest.approx(3.0)
    config = RTDetrV2Config(num_labels=4)
    outputs = {"logits": torch.zeros(1, 6, 4), "pred_boxes": torch.full((1, 6, 4), 0.4)}
    shared = matchability.MatchabilityCriterion(config)(outputs, targets)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: False)
    alone = matchability.MatchabilityCriterion(config)(outputs, targets)
    assert {k: float(alone[k] / v) for k, v in shared.items()} == pytest.approx(dict.fromkeys(alone, 3.0))

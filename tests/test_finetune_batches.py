"""Batches of crops and the rate of learning: each crop once an epoch, masks turned with their crops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.make_crops import make_crops

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from data.tiny_finetune import CONFIG  # noqa: E402

from leukoscope.train.crops.batches import draw_turns, epoch_batches, make_batch, prepared, turn  # noqa: E402
from leukoscope.train.loop import warm_cosine  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_crop_is_seen_once_an_epoch_in_even_batches():
    batches = epoch_batches(19, replace(CONFIG, batch_size=8), 0)
    assert sorted(np.concatenate(batches)) == list(range(19)) and {len(b) for b in batches} == {6, 7}
    other = epoch_batches(19, replace(CONFIG, batch_size=8), 1)
    assert not np.array_equal(np.concatenate(batches), np.concatenate(other))
    assert len(epoch_batches(19, replace(CONFIG, batch_size=4, max_steps=2), 0)) == 2


def test_masks_are_turned_with_their_crops_and_batches_do_not_depend_on_threads():
    crops = make_crops(6)
    crops = replace(crops, crops=np.repeat(crops.extras["masks"][..., None] * 255, 3, 3))
    corner = crops.extras["masks"].copy()
    corner[:, :16, :] = 0
    crops = replace(crops, crops=np.repeat(corner[..., None] * 255, 3, 3), extras={"masks": corner})
    jobs = [lambda s=s: make_batch(crops, np.arange(6), CONFIG, augment="paper", seed=(0, s)) for s in range(5)]
    plain, threaded = list(prepared(jobs, 0)), list(prepared(jobs, 3))
    assert all(torch.equal(a["pixels"], b["pixels"]) for a, b in zip(plain, threaded, strict=True))
    assert not torch.equal(plain[0]["pixels"], plain[1]["pixels"])
    inside = plain[0]["pixels"][..., 0] > 127
    assert (inside == plain[0]["extras"]["masks"].bool()).float().mean() > 0.97
    assert not torch.equal(plain[0]["extras"]["masks"], torch.from_numpy(corner))


def test_a_turn_by_nothing_changes_nothing():
    batch = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]).repeat(2, 1, 1)
    assert torch.allclose(turn(batch, identity), batch, atol=1e-6)
    theta = draw_turns(200, np.random.default_rng(0))
    areas = theta[:, 0, 0] * theta[:, 1, 1] - theta[:, 0, 1] * theta[:, 1, 0]
    assert torch.allclose(areas.abs(), torch.ones(200), atol=1e-5) and {-1, 1} == set(areas.round().int().tolist())


def test_the_rate_rises_then_falls():
    shares = [warm_cosine(s, 100, warm=10, final=0.01) for s in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == pytest.approx(1.0) and shares[10] == pytest.approx(1.0)
    assert shares[-1] < 0.02 and all(b <= a for a, b in zip(shares[10:], shares[11:], strict=False))

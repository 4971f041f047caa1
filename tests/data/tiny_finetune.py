"""The settings of a fine-tuning that takes a second, and what its run left."""

from __future__ import annotations

import csv

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.train.crops.finetune import FinetuneConfig  # noqa: E402

CONFIG = FinetuneConfig(
    name="painted", arch="tiny", taxonomy="drawn", epochs=3, size=32, batch_size=8, learning_rate=1e-2, head_rate=3e-2,
    augment="none", norms="trained", pad_px=None, pad_fraction=0.2,
)  # fmt: skip


def log_of(run):
    with open(run / "log.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights_of(run, which="last"):
    return torch.load(run / f"{which}.pt", weights_only=True)["model"]


def same(a: dict, b: dict, *, atol: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k].float(), b[k].float(), rtol=0, atol=atol) for k in a)

"""The settings of a detector that trains in seconds."""

from __future__ import annotations

from leukoscope.train.detector.config import DetectorConfig

TINY = DetectorConfig(
    name="tiny",
    arch="rtdetrv2-tiny",
    epochs=2,
    side=64,
    batch_size=2,
    learning_rate=1e-3,
    final_rate=5e-4,
    backbone_rate=1e-3,
    warmup_steps=2,
    plain_epochs=1,
    multi_scale=0.0,
    ema=0.9,
    ema_warmup=1,
    limits=("painted fields only",),
)

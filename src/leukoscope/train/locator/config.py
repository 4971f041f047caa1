"""Settings of the locator's training."""

from dataclasses import dataclass

from leukoscope.train.config import PictureConfig


@dataclass(frozen=True, slots=True)
class LocatorConfig(PictureConfig):
    """Settings of one locator run (a TOML file with these keys and task = "locate").

    levels     strides of the maps that cells are found on: [8], or [8, 16, 32] with larger cells on coarser maps
    plain      share of the pictures that are one photograph near the scale of inference; the rest are mosaics, and
               single cells filling the picture
    transpose  whether pictures are also turned by a quarter (not only mirrored), which hides an annotator's habit of
               leaving more room at the sides than above and below
    touching   share of the pictures in which a cell gets neighbours that lean on it
    fold       whether the backbone's norms are folded into its convolutions: quicker steps
    init_from  a run folder whose averaged weights this one starts from
    memory_px  longer side of the photographs held in memory
    """

    side: int = 256
    batch_size: int = 8
    levels: tuple = (8,)
    width: int = 96
    learning_rate: float = 1e-3
    backbone_rate: float = 3e-4
    frozen_blocks: int = 3
    ema: float = 0.998
    plain: float = 0.45
    transpose: bool = True
    touching: float = 0.0
    fold: bool = False
    init_from: str | None = None
    memory_px: int = 480

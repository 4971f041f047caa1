"""Settings of the locator's training."""

from dataclasses import dataclass

from leukoscope.errors import ConfigError
from leukoscope.train.config import PictureConfig, require_side


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
    tighter    how much nearer to a cell's middle than learnt its box's left, top, right and bottom side are drawn by
               the bundle, as shares of their distances: annotators leave more room or less
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
    tighter: tuple = (0.0, 0.0, 0.0, 0.0)
    init_from: str | None = None
    memory_px: int = 480

    def __post_init__(self) -> None:
        require_side(self)
        shares = [x for x in self.tighter if isinstance(x, int | float) and not isinstance(x, bool) and -1 < x < 1]
        if not len(shares) == len(self.tighter) == 4:
            raise ConfigError(f"tighter must be four shares between -1 and 1, got {list(self.tighter)}")

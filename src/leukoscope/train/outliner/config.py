"""Settings of the outliner's training."""

from dataclasses import dataclass, field

from leukoscope.train.config import PictureConfig


@dataclass(frozen=True, slots=True)
class OutlinerConfig(PictureConfig):
    """Settings of one outliner run (a TOML file with these keys and task = "outline").

    size       pixels a side of a crop; context: what it shows beside the box, as a share of the box's longer side
    masks      by data set name ("*": of any other set that has contours), where its mask pictures are: a path with
               {stem} or {number}, relative to its pictures
    most_cells of a data set that are held in memory, spread over its fields
    guess_from share of the steps after which cells known by box only are learnt from
    guess_iou  IoU that a guessed outline's box must reach with the annotated box
    guess_sure probability of cell or of background from which on a pixel of a guess counts
    """

    size: int = 96
    context: float = 0.25
    batch_size: int = 16
    width: int = 48
    masks: dict = field(default_factory=dict)
    most_cells: int = 1500
    guess_from: float = 0.3
    guess_iou: float = 0.7
    guess_sure: float = 0.8
    learning_rate: float = 1.5e-3
    backbone_rate: float = 5e-4
    frozen_blocks: int = 1
    ema: float = 0.995

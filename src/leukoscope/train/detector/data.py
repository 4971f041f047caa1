"""Training pictures for the detectors: letterboxed fields, and batches of them with DEIM's dense one-to-one.

A batch depends on (seed, epoch, number, rank) alone, so a resumed run sees what an uninterrupted one sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leukoscope.dataset.detection import LabelledField
from leukoscope.dataset.manifest import Dataset
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.locate import letterbox
from leukoscope.train.augment import jitter_colour
from leukoscope.train.detector.augment import Picture, distort_colour, flip, iou_crop, mosaic, resize_to, turn, zoom_out


class Batch(NamedTuple):
    """pixels (B, S, S, 3) uint8 and, per picture, class_labels (n,) int64 and boxes (n, 4) cxcywh in shares of S."""

    pixels: Tensor
    labels: list[dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to the pictures of one epoch (`detector.recipe_of_epoch`)."""

    side: int
    plain: bool  # the first and the last epochs: nothing but flips
    dense: bool  # mosaic and mix-up, the dense one-to-one
    mosaic_prob: float
    mixup_prob: float
    rotation: float  # degrees either way
    flip_vertical: bool
    stain_strength: float
    multi_scale: float  # the side is drawn from 1 - x to 1 + x of itself, in steps of 32 px


class Pictures:
    """The labelled fields of several data sets, read when asked for and kept where they fit into `memory_mb`."""

    def __init__(
        self, fields: Sequence[tuple[Dataset, LabelledField]], *, balance: bool, memory_px: int, memory_mb: int = 2000
    ) -> None:
        self.fields, self.balance, self.memory_px = list(fields), balance, memory_px
        self._room = memory_mb * 2**20
        self._kept: dict[int, Picture] = {}

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, i: int) -> Picture:
        """Field i, its longer side at most memory_px, white-balanced if asked."""
        if i in self._kept:
            return self._kept[i]
        dataset, labelled = self.fields[i]
        pixels = read_image(dataset.path(labelled.field))
        picture = Picture(pixels, labelled.boxes.copy(), labelled.labels)
        scale = self.memory_px / max(pixels.shape[:2])
        if scale < 1:
            picture = resize_to(picture, scale)
        if self.balance:
            balanced = white_balance(picture.pixels, background_color(picture.pixels))
            picture = picture._replace(pixels=balanced)
        if picture.pixels.nbytes <= self._room:
            self._room -= picture.pixels.nbytes
            self._kept[i] = picture
        return picture


class Batches(torch.utils.data.Dataset):
    """The batches of one epoch, from number `first` on, for a `DataLoader` with batch_size=None."""

    def __init__(
        self,
        pictures: Pictures,
        recipe: Recipe,
        order: np.ndarray,
        *,
        key: tuple[int, int, int],
        size: int,
        first: int = 0,
    ) -> None:
        """order: rows of this rank in this epoch; key: (seed, epoch, rank); size: pictures a batch."""
        self.pictures, self.recipe, self.order = pictures, recipe, order
        self.key, self.size, self.first = key, size, first

    def __len__(self) -> int:
        return len(self.order) // self.size - self.first

    def __getitem__(self, n: int) -> Batch:
        if not 0 <= n < len(self):
            raise IndexError(n)
        number = n + self.first
        rng = np.random.default_rng((*self.key, number))
        rows = self.order[number * self.size : (number + 1) * self.size]
        return collate([draw(self.pictures, int(i), self.recipe, rng) for i in rows], self.recipe, rng)


def draw(pictures: Pictures, i: int, recipe: Recipe, rng: np.random.Generator) -> Picture:
    """One training picture of recipe.side px: mosaic and colours, or colours, zoom-out and IoU-crop; then flips.

    As in DEIM, a mosaic is neither zoomed out nor cropped, and the last epochs see the pictures as they are.
    """
    picture = pictures[i]
    if not recipe.plain:
        if recipe.dense and rng.random() < recipe.mosaic_prob:
            others = [pictures[int(k)] for k in rng.integers(len(pictures), size=3)]
            picture = distort_colour(mosaic([picture, *others], recipe.side, rng), rng)
        else:
            picture = distort_colour(picture, rng)
            picture = iou_crop(zoom_out(picture, rng), rng)
            if recipe.rotation:
                picture = turn(picture, float(rng.uniform(-recipe.rotation, recipe.rotation)))
    return flip(picture, rng, vertical=recipe.flip_vertical)


def collate(pictures: list[Picture], recipe: Recipe, rng: np.random.Generator) -> Batch:
    """Letterboxed pictures as one batch, stained anew and mixed up where the recipe says so."""
    side, canvases, labels = _side(recipe, rng), [], []
    for picture in pictures:
        canvas, scale = letterbox(picture.pixels, (side, side))
        canvases.append(canvas)
        labels.append(as_labels(picture.boxes * (*scale, *scale), picture.labels, side))
    pixels = torch.from_numpy(np.stack(canvases))
    if recipe.stain_strength and not recipe.plain:
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
        planes = pixels.permute(0, 3, 1, 2).float() / 255
        planes = jitter_colour(planes, torch_rng, strength=recipe.stain_strength)
        pixels = (planes * 255).round().byte().permute(0, 2, 3, 1).contiguous()
    if recipe.dense and not recipe.plain and len(labels) > 1 and rng.random() < recipe.mixup_prob:
        return mix_up(Batch(pixels, labels), float(rng.uniform(0.45, 0.55)))
    return Batch(pixels, labels)


def mix_up(batch: Batch, share: float) -> Batch:
    """Every picture blended with the one before it, `share` its own; both pictures' boxes stand (DEIM, section 3.1)."""
    pixels = batch.pixels.float()
    mixed = (share * pixels + (1 - share) * pixels.roll(1, 0)).round().byte()
    labels = []
    for one, other in zip(batch.labels, [batch.labels[-1], *batch.labels[:-1]], strict=True):
        labels.append({k: torch.cat([one[k], other[k]]) for k in one})
    return Batch(mixed, labels)


def as_labels(boxes: np.ndarray, classes: np.ndarray, side: int) -> dict[str, Tensor]:
    """Boxes (n, 4) px xyxy on a square of `side` px as the network's labels; n may be 0."""
    boxes = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, side) / side
    centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return {"class_labels": torch.from_numpy(np.asarray(classes, np.int64)), "boxes": torch.from_numpy(centred)}


def _side(recipe: Recipe, rng: np.random.Generator) -> int:
    if not recipe.multi_scale:
        return recipe.side
    low, high = recipe.side * (1 - recipe.multi_scale), recipe.side * (1 + recipe.multi_scale)
    return int(rng.integers(max(1, round(low / 32)), round(high / 32) + 1)) * 32

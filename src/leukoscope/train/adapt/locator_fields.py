"""A camera's corrected fields for the locator: shown at the scale at which analysis shows them, and scored so.

Analysis cuts a photograph into tiles by its smear's red cells. What is learnt from are the same tiles: a photograph
of 12 megapixels shrunk whole would show cells of a few pixels.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError, ImageError
from leukoscope.evaluate.boxes import Matches, boxes_above, found_share, match_boxes, mean_ap
from leukoscope.evaluate.readings import with_limits
from leukoscope.geometry import tiles
from leukoscope.images import read_field
from leukoscope.locate import TILE_OVERLAP, fitting_tile_px, locate_balanced, prepare
from leukoscope.models.bundle import Bundle, Card
from leukoscope.models.runtime import Session
from leukoscope.pipeline.ruler import POOLED
from leukoscope.progress import Progress, no_progress
from leukoscope.scale import red_cell_px
from leukoscope.train.locator.data import Photo, is_white
from leukoscope.types import Field

LOW_SCORE = 0.01  # what average precision looks at
MOST_TILES = 1500  # in memory; of larger sets some are drawn
ANY = (0.0, float("inf"))
Rulers = dict[tuple, float | None]


@dataclass(frozen=True, slots=True)
class Found:
    """How well a locator finds a set's white cells: average precision at IoU 0.5 and over 0.5 to 0.95, the share found
    and the false boxes a field at the card's threshold. Each {"value", "low", "high"}, limits by patient or field."""

    ap50: dict
    ap50_95: dict
    recall: dict
    false_per_field: dict


def measure_rulers(dataset: Dataset, card: Card) -> Rulers:
    """Diameter in px of the red cells of each smear and picture size: the median of its first fields."""
    measured: dict[tuple, list] = defaultdict(list)
    for truth in dataset.fields:
        if len(measured[_smear_of(truth)]) < POOLED:
            measured[_smear_of(truth)].append(red_cell_px(view_of(dataset, truth, card).pixels))
    known = {smear: [d for d in lengths if d is not None] for smear, lengths in measured.items()}
    return {smear: float(np.median(lengths)) if lengths else None for smear, lengths in known.items()}


def tile_photos(
    dataset: Dataset, locator: Session, rulers: Rulers, memory_px: int, *, seed: int, progress: Progress = no_progress
) -> list[Photo]:
    """The tiles of a set's fields, longer side at most `memory_px`; of those without a cell as many as with one.

    Boxes may reach over a tile's edge: `draw_canvas` clips them, or leaves their place out.
    """
    full, empty = [], []
    for done, truth in enumerate(dataset.fields, 1):
        view = view_of(dataset, truth, locator.card)
        boxes = _white_boxes(truth)
        tile_px = fitting_tile_px(view, locator, red_px=rulers.get(_smear_of(truth)))
        height, width = view.pixels.shape[:2]
        for x0, y0, x1, y1 in tiles(height, width, tile_px, round(tile_px * TILE_OVERLAP)):
            near = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
            photo = _shrunk(view.pixels[y0:y1, x0:x1], boxes[near] - (x0, y0, x0, y0), memory_px)
            (full if near.any() else empty).append(photo)
        progress(done, len(dataset.fields))
    rng = np.random.default_rng(seed)
    empty = [empty[i] for i in rng.permutation(len(empty))[: len(full)]]
    chosen = [*full, *empty]
    return [chosen[i] for i in np.sort(rng.permutation(len(chosen))[:MOST_TILES])]


def match_fields_of(bundle: Bundle, dataset: Dataset, rulers: Rulers) -> list[Matches]:
    """White cells against the boxes that analysis would find, down to LOW_SCORE; one entry a field."""
    low = replace(bundle.card, thresholds=bundle.card.thresholds | {"score": LOW_SCORE})
    locator, matches = Session(Bundle(low, bundle.path)), []
    for truth in dataset.fields:
        view = view_of(dataset, truth, low)
        tile_px = fitting_tile_px(view, locator, red_px=rulers.get(_smear_of(truth)))
        cells = locate_balanced(view, locator, tile_px=tile_px)
        matches.append(match_boxes(_white_boxes(truth), cells.boxes, cells.scores))
    return matches


def score_fields(matches: list[Matches], groups: np.ndarray, threshold: float) -> Found:
    """The four measures; `groups` (N,) says which fields are left out together for the limits."""
    rows, kept = np.arange(len(matches)), [boxes_above(m, threshold) for m in matches]
    n_false = np.array([float((~m.hit[0]).sum()) for m in kept])
    return Found(
        ap50=with_limits(lambda r: mean_ap([matches], r, slice(1)), rows, groups),
        ap50_95=with_limits(lambda r: mean_ap([matches], r), rows, groups),
        recall=with_limits(lambda r: found_share([kept[i] for i in r]), rows, groups),
        false_per_field=with_limits(lambda r: float(n_false[r].mean()), rows, groups, within=ANY),
    )


def gain_of(before: list[Matches], after: list[Matches], groups: np.ndarray) -> dict:
    """AP50-95 after less before on the same fields, with limits."""
    rows = np.arange(len(before))
    return with_limits(lambda r: mean_ap([after], r) - mean_ap([before], r), rows, groups, within=(-1.0, 1.0))


def group_of(truth: TruthField, unit: str) -> str:
    """What a field is held out with: its patient, or itself."""
    return truth.key.patient_id if unit == "patient" else truth.key.field_id


def view_of(dataset: Dataset, truth: TruthField, card: Card) -> Field:
    """A field as analysis shows it to the locator. DataError where its picture can't be read."""
    try:
        return prepare(read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px), card)
    except ImageError as error:
        raise DataError(f"{dataset.path(truth)}: {error}: take the field out of {dataset.name}, or mend it") from None


def _smear_of(truth: TruthField) -> tuple:
    return truth.key.patient_id, truth.key.smear_id, truth.width, truth.height


def _white_boxes(truth: TruthField) -> np.ndarray:
    return np.array([c.box for c in truth.cells if is_white(c)], np.float64).reshape(-1, 4)


def _shrunk(pixels: np.ndarray, boxes: np.ndarray, memory_px: int) -> Photo:
    scale = min(1.0, memory_px / max(pixels.shape[:2]))
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR))
    return Photo(pixels, (boxes * scale).astype(np.float32))

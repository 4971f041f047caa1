"""One photograph, all the way: read, check, locate, crop, classify. Nothing here depends on any other photograph."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field

import numpy as np
from PIL import Image

from leukoscope.classify import Batch, classify_batches
from leukoscope.crop import crop_cells
from leukoscope.images import Picture, check_quality
from leukoscope.locate import detect_balanced, locate_balanced, prepare
from leukoscope.models.bundle import CropRule
from leukoscope.models.runtime import Session
from leukoscope.outline import Outlines, outline
from leukoscope.pipeline.outlines import outline_entries
from leukoscope.pipeline.photographs import Rooms, each_picture
from leukoscope.pipeline.sources import Source
from leukoscope.scale import with_scale
from leukoscope.types import Cells, Field

THUMB_PX = 96
THUMB_QUALITY = 80
THUMB_RULE = CropRule(size=THUMB_PX, pad_fraction=0.25)  # where no classifier's rule says how to crop
BOX_DIGITS = 2
PROB_DIGITS = 6


@dataclass(frozen=True, slots=True)
class FieldAnalyzer:
    """What every photograph of a run is analysed with; safe to use from several threads.

    A one-stage detector (task "detect") stands in both places. An outliner, where the model has one, adds contours.
    """

    locator: Session
    classifier: Session
    um_per_px: float | None
    tile_px: int | None
    outliner: Session | None = None
    rooms: Rooms = field(default_factory=Rooms)

    def __call__(self, source: Source) -> tuple[list[dict], list[list[bytes]]]:
        """The record's entries of one photograph, and for each a JPEG thumbnail of each of its cells.

        A file of several fields (pages) has an entry for each. A picture that can't be read gives status "failed"; one
        of poor quality is analysed and counted all the same, with status "poor". `reason` holds the short words for
        either.
        """

        def work(picture: Picture) -> tuple[dict, list[bytes]]:
            return self._analyze(Field(source.key, picture.pixels, self.um_per_px))

        return each_picture(source, self.um_per_px, self.rooms, work)

    def _analyze(self, field: Field) -> tuple[dict, list[bytes]]:
        """What the entry of a picture that could be read says, and the thumbnails."""
        quality = asdict(check_quality(field.pixels))
        problems = list(quality.pop("problems"))
        cells, thumbs, um_per_px = self._cells(field)
        found = {
            "status": "poor" if problems else "ok",
            "reason": ", ".join(problems) or None,
            "width": field.pixels.shape[1],
            "height": field.pixels.shape[0],
            **_scale(field, um_per_px),
            "quality": {name: _measure(value) for name, value in quality.items()} | {"problems": problems},
            "cells": cells,
        }
        return found, thumbs

    def _cells(self, field: Field) -> tuple[list[dict], list[bytes], float | None]:
        """The entries of the field's cells, their thumbnails, and the scale they were judged by."""
        if self.locator.card.task == "detect":
            return self._detected(field)
        # Both models often want the same view of the field: it is made once.
        cards = {card.white_balance: card for card in (self.locator.card, self.classifier.card)}
        views = {balance: prepare(field, card) for balance, card in cards.items()}
        cells = locate_balanced(views[self.locator.card.white_balance], self.locator, tile_px=self.tile_px)
        view = with_scale(views[self.classifier.card.white_balance], cells)
        outlines = outline(field, cells, self.outliner) if self.outliner is not None else None
        if outlines is not None:
            cells = outlines.cells  # a classifier may want its crops by contour
        batches, thumbs = [], []
        for batch in classify_batches(view, cells, self.classifier):
            batches.append(batch._replace(crops=None))  # the crops of a crowded field are not kept
            thumbs += [_thumb(crop) for crop in batch.crops]
        return _with_outlines(self._entries(cells, batches), outlines), thumbs, view.um_per_px

    def _detected(self, field: Field) -> tuple[list[dict], list[bytes], float | None]:
        """`_cells` of a one-stage detector, which locates and names in one."""
        view = prepare(field, self.locator.card)
        calls = detect_balanced(view, self.locator, tile_px=self.tile_px)
        view = with_scale(view, calls.cells)
        thumbs = [_thumb(crop) for box in calls.cells.boxes for crop in crop_cells(view.pixels, box, THUMB_RULE)]
        batches = [Batch(None, calls.probs, None)] if len(calls.cells) else []
        outlines = outline(field, calls.cells, self.outliner) if self.outliner is not None else None
        return _with_outlines(self._entries(calls.cells, batches), outlines), thumbs, view.um_per_px

    def _entries(self, cells: Cells, batches: list[Batch]) -> list[dict]:
        """The record's cells. The class is the most probable one of the rounded numbers that are written."""
        if not batches:
            return []
        probs = np.concatenate([b.probs for b in batches])
        taxonomy = self.classifier.card.taxonomy
        blasts = taxonomy.columns(taxonomy.blasts)
        probs = np.round(probs.astype(np.float64), PROB_DIGITS)
        boxes = np.round(cells.boxes.astype(np.float64), BOX_DIGITS).tolist()
        scores = np.round(cells.scores.astype(np.float64), PROB_DIGITS).tolist()
        entries = [
            {
                "box": box,
                "class": taxonomy.names[int(row.argmax())],
                "probs": dict(zip(taxonomy.names, row.tolist(), strict=True)),
                "score": score,
                "suspicion": round(float(row[blasts].sum()), PROB_DIGITS),
            }
            for box, score, row in zip(boxes, scores, probs, strict=True)
        ]
        if batches[0].words is None:
            return entries
        words = [w for b in batches for w in b.words]
        return [entry | {"attributes": said} for entry, said in zip(entries, words, strict=True)]


def _with_outlines(entries: list[dict], outlines: Outlines | None) -> list[dict]:
    """The entries with what the outliner says of each cell; as they are where the model has none."""
    if outlines is None:
        return entries
    return [entry | drawn for entry, drawn in zip(entries, outline_entries(outlines), strict=True)]


def _scale(field: Field, um_per_px: float | None) -> dict:
    """The scale used, and where it comes from: "stated" (for the run), "red_cells" (measured) or None (unknown)."""
    if field.um_per_px is not None:
        return {"um_per_px": field.um_per_px, "scale_from": "stated"}
    return {"um_per_px": um_per_px, "scale_from": None if um_per_px is None else "red_cells"}


def _measure(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _thumb(crop: np.ndarray) -> bytes:
    """A crop as a small JPEG that holds pixels and nothing else."""
    picture = Image.fromarray(crop).resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=THUMB_QUALITY)
    return out.getvalue()

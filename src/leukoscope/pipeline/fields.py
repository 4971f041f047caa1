"""One photograph, all the way: read, check, locate, crop, classify. Nothing of others is used but the smear's ruler."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from leukoscope.classify import Batch, classify_batches
from leukoscope.entries import CellEntry
from leukoscope.images import Picture, check_quality
from leukoscope.locate import (
    BOX_DIGITS,
    default_tile_px,
    detect_balanced,
    fitting_tile_px,
    locate_balanced,
    prepare,
)
from leukoscope.models.runtime import Session
from leukoscope.outline import Outlines, outline
from leukoscope.pipeline.cell_pictures import CellPicture, ModelView, cell_pictures, model_views
from leukoscope.pipeline.outlines import outline_entries
from leukoscope.pipeline.ownership import Keep, is_owned, kept_box, owned
from leukoscope.pipeline.photographs import Analysed, Rooms, each_picture, scale_of
from leukoscope.pipeline.ruler import Ruler
from leukoscope.pipeline.sources import Source
from leukoscope.scale import RED_CELL_UM, scale_doubt, with_scale
from leukoscope.types import Cells, Field

PROB_DIGITS = 6
OF_PHOTOGRAPHS = ("too_small", "channels_swapped")  # problems that are not looked for in regions of slides


# Entries of a field's cells, how the classifier saw each (None: a detector), the scale, the tiles' side.
_Cells = tuple[list[dict], list[ModelView] | None, float | None, int]


@dataclass(frozen=True, slots=True)
class Segmenter:
    """What finds and outlines cells in the place of a model's locator (YOLO11-seg: `train.yolo_seg.open_segmenter`).

    find  field → its cells, best first, each with its contour; called from several threads
    """

    name: str
    sha256: str
    find: Callable[[Field], Cells]


@dataclass(frozen=True, slots=True)
class FieldAnalyzer:
    """What every photograph of a run is analysed with; safe to use from several threads.

    A one-stage detector (task "detect") stands in both places. An outliner, where the model has one, adds contours;
    to a segmenter's cells, which have them, it adds nuclei.
    """

    locator: Session
    classifier: Session
    um_per_px: float | None
    tile_px: int | None
    outliner: Session | None = None
    segmenter: Segmenter | None = None
    rooms: Rooms = field(default_factory=Rooms)

    def __call__(self, source: Source, ruler: Callable[[], Ruler]) -> Analysed:
        """The record's entries of one photograph, with the pictures of their cells.

        ruler  gives the ruler of the photograph's smear, once it is measured
        A file of several fields (pages) has an entry for each. A picture that can't be read gives status "failed"; one
        of poor quality is analysed and counted all the same, with status "poor". `reason` holds the short words for
        either.
        """

        um_per_px, origin = scale_of(source, self.um_per_px)
        keep = kept_box(source)

        def work(picture: Picture) -> tuple[dict, list[CellPicture]]:
            field = Field(source.key, picture.pixels, um_per_px)
            outcome, pictures = self._analyze(field, measured.of(picture.pixels), keep)
            return outcome | ({"scale_from": origin} if origin else {}), pictures

        measured = ruler()  # awaited before any room is taken: the one who measures may need it
        return each_picture(source, self.um_per_px, self.rooms, work)

    def _analyze(self, field: Field, red_px: float | None, keep: Keep) -> tuple[dict, list[CellPicture]]:
        """What the entry of a picture that could be read says, and its cells' pictures.

        red_px  of the smear
        keep    of a slide's region: cells whose middle lies outside are other regions'
        """
        quality = asdict(check_quality(field.pixels))
        # Of a region the scale is known, and whether it holds a nucleus to tell red from blue by is chance.
        problems = [p for p in quality.pop("problems") if keep is None or p not in OF_PHOTOGRAPHS]
        cells, models, um_per_px, tile_px = self._cells(field, red_px, keep)
        outcome = {
            "status": "poor" if problems else "ok",
            "reason": ", ".join(problems) or None,
            "width": field.pixels.shape[1],
            "height": field.pixels.shape[0],
            **_scale(field, um_per_px, red_px),
            "tile_px": tile_px,
            "quality": {name: _measure(value) for name, value in quality.items()} | {"problems": problems},
            "cells": cells,
        }
        return outcome, cell_pictures(field.pixels, cells, self.classifier.card.taxonomy.blasts, models)

    def _cells(self, field: Field, red_px: float | None, keep: Keep) -> _Cells:
        """The entries of the field's cells, how the classifier saw each, the scale it judged by, the tiles' side."""
        if self.segmenter is not None:
            return self._segmented(field, red_px, keep)
        if self.locator.card.task == "detect":
            return self._detected(field, red_px, keep)
        # Both models often want the same view of the field: it is made once.
        cards = {card.white_balance: card for card in (self.locator.card, self.classifier.card)}
        views = {balance: prepare(field, card) for balance, card in cards.items()}
        located = views[self.locator.card.white_balance]
        # A stated scale says how wide a red cell is; what the smear's own say is then only compared with it.
        seen = red_px if field.um_per_px is None else RED_CELL_UM / field.um_per_px
        tile_px = self.tile_px or fitting_tile_px(located, self.locator, red_px=seen)
        cells = locate_balanced(located, self.locator, tile_px=tile_px)
        view = with_scale(views[self.classifier.card.white_balance], cells, red_px=red_px)
        cells = owned(cells, keep)
        outlines = outline(field, cells, self.outliner) if self.outliner is not None else None
        if outlines is not None:
            cells = outlines.cells  # a classifier may want its crops by contour
        entries, models = self._classified(view, cells)
        return _with_outlines(entries, outlines), models, view.um_per_px, tile_px

    def _segmented(self, field: Field, red_px: float | None, keep: Keep) -> _Cells:
        """`_cells` with a segmenter: its contours, and nuclei where there is an outliner."""
        cells = self.segmenter.find(field)
        view = with_scale(prepare(field, self.classifier.card), cells, red_px=red_px)
        cells = owned(cells, keep)
        entries, models = self._classified(view, cells)
        nuclei = outline(field, cells, self.outliner).nuclei if self.outliner is not None else ((),) * len(cells)
        entries = _with_outlines(entries, Outlines(cells, nuclei))
        if self.outliner is None:  # nobody looked for nuclei: no ratio of them is known
            entries = [entry | {"nucleus_area_px": None, "nc_ratio": None} for entry in entries]
        return entries, models, view.um_per_px, max(field.pixels.shape[:2])

    def _classified(self, view: Field, cells: Cells) -> tuple[list[dict], list[ModelView]]:
        """The entries of cells, and how the classifier saw each."""
        batches, models = [], []
        for batch in classify_batches(view, cells, self.classifier):
            batches.append(batch._replace(crops=None, features=None))  # the crops of a crowded field are not kept
            models += model_views(batch.crops, batch.features)
        return self._entries(cells, batches), models

    def _detected(self, field: Field, red_px: float | None, keep: Keep) -> _Cells:
        """`_cells` of a one-stage detector, which locates and names in one."""
        view = prepare(field, self.locator.card)
        tile_px = self.tile_px or default_tile_px(self.locator.card)
        calls = detect_balanced(view, self.locator, tile_px=tile_px)
        view = with_scale(view, calls.cells, red_px=red_px)
        cells, probs = owned(calls.cells, keep), calls.probs[is_owned(calls.cells, keep)]
        batches = [Batch(None, probs, None)] if len(cells) else []
        outlines = outline(field, cells, self.outliner) if self.outliner is not None else None
        return _with_outlines(self._entries(cells, batches), outlines), None, view.um_per_px, tile_px

    def _entries(self, cells: Cells, batches: list[Batch]) -> list[CellEntry]:
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


def _with_outlines(entries: list[CellEntry], outlines: Outlines | None) -> list[CellEntry]:
    """The entries with what the outliner says of each cell; as they are where the model has none."""
    if outlines is None:
        return entries
    return [entry | drawn for entry, drawn in zip(entries, outline_entries(outlines), strict=True)]


def _scale(field: Field, um_per_px: float | None, red_px: float | None) -> dict:
    """The scale used, and where it comes from: "stated" (for the run), "red_cells" (measured) or None (unknown);
    the red cells' diameter, and what is doubtful about the scale."""
    origin = "stated" if field.um_per_px is not None else None if um_per_px is None else "red_cells"
    return {
        "um_per_px": um_per_px,
        "scale_from": origin,
        "red_cell_px": None if red_px is None else round(red_px, 1),
        "scale_doubt": scale_doubt(field.um_per_px, um_per_px=um_per_px, red_px=red_px),
    }


def _measure(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)

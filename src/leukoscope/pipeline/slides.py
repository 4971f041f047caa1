"""From a slide among the sources to its regions: looked over once, before the run's journal is begun."""

import base64
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.files import write_whole
from leukoscope.images import background_color, white_balance
from leukoscope.images.slides import Region, is_slide, slide_of
from leukoscope.images.slides.monolayer import COUNTED, VERDICTS
from leukoscope.images.slides.region import Box
from leukoscope.images.slides.shelf import copy_slide, slide_digest
from leukoscope.images.slides.slide import Slide
from leukoscope.images.slides.survey import Survey, pieces, survey
from leukoscope.pipeline.sources import Source, Unread
from leukoscope.progress import Progress, no_progress
from leukoscope.scale import RED_CELL_UM, red_cell_px
from leukoscope.stores import is_address

HALO_UM = {"blood": 25.0, "marrow": 60.0}  # around what is counted: half of the largest cell and what it is seen with
BAND_UM = 3.0  # boxes of one cell in two views differ by less
_MOST_REGION = 2304  # px a side of what is counted in one region
_UNKNOWN_UM = 0.25  # µm/px that halo and band are made for where nothing says the scale
_AT_ONCE = 4  # slides of this machine's drives; each holds its reader's cache
_ASKED = 16  # objects of a store at a time
_RULED, _RULER_PX = 12, 1024  # pieces that red cells are measured in, and their side in px


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """What the record says of one slide, and the picture under its map (JPEG, or None)."""

    said: dict
    picture: bytes | None


def plan_slides(
    sources: Sequence[Source],
    um_per_px: float | None,
    *,
    whole: bool,
    workers: int = 1,
    progress: Progress = no_progress,
) -> tuple[list[Source], list[SlidePlan]]:
    """The sources with every slide replaced by its regions, in order, and what to say of each slide.

    A slide that can't be read, or of which nothing can be counted, stays one source that says why. One whose library
    is not installed stays as it is: it may be a photograph in tiles.
    workers   slides that are looked over at a time, at most _AT_ONCE; those of stores one after the other, for how many
              copies fit on the disk at once must not decide what a record says
    progress  of one slide (megabytes copied, in all) where it is in a store, then (tiles looked at, in all); of several
              at a time (slides looked over, in all)
    """
    slides = [source for source, of_slide in zip(sources, _are_slides(sources), strict=True) if of_slide]
    at_once = 1 if any(is_address(s.file) for s in slides) else max(1, min(workers, len(slides), _AT_ONCE))
    told, of_each = (no_progress, progress) if at_once > 1 else (progress, no_progress)
    parts: dict[int, list[Source]] = {}
    plans: list[SlidePlan] = []
    pool = ThreadPoolExecutor(at_once)
    try:
        planned = pool.map(partial(_planned, um_per_px=um_per_px, whole=whole, progress=told), slides)
        for n_done, (source, (regions, plan)) in enumerate(zip(slides, planned, strict=True), 1):
            parts[id(source)] = regions
            plans += [] if plan is None else [plan]
            of_each(n_done, len(slides))
    finally:
        pool.shutdown(cancel_futures=True)
    return [part for source in sources for part in parts.get(id(source), [source])], plans


def _planned(
    source: Source, *, um_per_px: float | None, whole: bool, progress: Progress
) -> tuple[list[Source], SlidePlan | None]:
    """What stands in a slide's place among the sources, and what to say of it where it could be read."""
    try:
        regions, plan = _plan(source, um_per_px, whole=whole, progress=progress)
    except ImageError as error:
        return [source if error.reason == "slide" else replace(source, part=_unread(source, error))], None
    why = ImageError("no_monolayer", f"{source.file}: {_why_nothing(plan.said)}")
    return [replace(source, part=r) for r in regions] or [replace(source, part=_unread(source, why))], plan


def _are_slides(sources: Sequence[Source]) -> Iterator[bool]:
    """Of each source whether it is a slide; a store is asked about many objects at a time."""
    if not any(is_address(s.file) for s in sources):
        yield from (is_slide(s.file) for s in sources)
        return
    with ThreadPoolExecutor(_ASKED) as pool:
        yield from pool.map(is_slide, (s.file for s in sources))


def _plan(
    source: Source, um_per_px: float | None, *, whole: bool, progress: Progress
) -> tuple[list[Region], SlidePlan]:
    copy_slide(source.file, progress)
    digest = slide_digest(source.file)
    with slide_of(source.file) as slide:
        facts = slide.facts
        stated = um_per_px or facts.um_per_px
        seen = survey(slide, stated or _by_red_cells(slide), whole=whole, progress=progress)
        red_px = _red_cells(slide, seen)
    scale = stated or (RED_CELL_UM / red_px if red_px else _UNKNOWN_UM)
    regions = [
        Region(box, core, keep, facts.um_per_px, red_px, digest)
        for box, core, keep in cut_regions(
            seen, facts.size, round(HALO_UM[source.key.specimen] / scale), round(BAND_UM / scale)
        )
    ]
    letters, counts = np.unique(seen.verdicts, return_counts=True)
    area = (seen.tile_px * scale / 1000) ** 2
    said = {
        "file": source.file,
        "sha256": digest,
        "patient_id": source.key.patient_id,
        "smear_id": source.key.smear_id,
        "reader": facts.reader,
        "vendor": facts.vendor,
        "width": facts.size[0],
        "height": facts.size[1],
        "n_levels": len(facts.levels),
        "n_planes": facts.n_planes,
        "um_per_px": facts.um_per_px,
        "red_cell_px": None if red_px is None else round(red_px, 1),
        "whole": whole,
        "n_regions": len(regions),
        "tile_px": seen.tile_px,
        "mm2": {str(k): round(float(n) * area, 2) for k, n in zip(letters, counts, strict=True)},
        "map": ["".join(row) for row in seen.verdicts],
    }
    return regions, SlidePlan(said, seen.picture)


def cut_regions(seen: Survey, size: tuple[int, int], halo: int, band: int) -> Iterator[tuple[Box, Box, Box]]:
    """(box, core, keep) of each region, row by row: one counted tile, or 4 or 16 together where all of them are."""
    counted = seen.verdicts == COUNTED
    rows, columns = counted.shape
    taken = np.zeros_like(counted)
    for row, column in np.argwhere(counted).tolist():
        if taken[row, column]:
            continue
        sides = (n for n in (4, 2) if n * seen.tile_px <= _MOST_REGION and _is_block(counted, row, column, n))
        side = next(sides, 1)
        taken[row : row + side, column : column + side] = True
        core = (*seen.box(row, column, size)[:2], *seen.box(row + side - 1, column + side - 1, size)[2:])
        beside = (  # left, above, right, below: whether there is a counted neighbour
            column > 0 and counted[row : row + side, column - 1].any(),
            row > 0 and counted[row - 1, column : column + side].any(),
            column + side < columns and counted[row : row + side, column + side].any(),
            row + side < rows and counted[row + side, column : column + side].any(),
        )
        keep = _grown(core, [band * bool(b) for b in beside], size)
        yield _grown(core, [halo] * 4, size), core, keep


def _is_block(counted: np.ndarray, row: int, column: int, side: int) -> bool:
    """Whether a square of the grid of such squares begins here, and all of it is counted."""
    block = counted[row : row + side, column : column + side]
    return row % side == column % side == 0 and block.shape == (side, side) and bool(block.all())


def _grown(box: Box, by: Sequence[int], size: tuple[int, int]) -> Box:
    """The box with its left, upper, right and lower side moved outwards, within the slide."""
    x0, y0, x1, y1 = box
    left, up, right, down = by
    return max(x0 - left, 0), max(y0 - up, 0), min(x1 + right, size[0]), min(y1 + down, size[1])


def write_plans(path: Path, plans: Sequence[SlidePlan]) -> None:
    """One line a slide: {"slide": ..., "picture": base64 or null}."""
    with write_whole(path, encoding="ascii", newline="\n") as file:
        for plan in plans:
            picture = None if plan.picture is None else base64.b64encode(plan.picture).decode("ascii")
            file.write(json.dumps({"slide": plan.said, "picture": picture}) + "\n")


def read_plans(path: Path) -> list[dict]:
    """What the record says of each slide of a run; none where the run had none."""
    if not path.is_file():
        return []
    with open(path, encoding="ascii") as lines:
        return [json.loads(line)["slide"] for line in lines]


def _by_red_cells(slide: Slide) -> float | None:
    """Micrometres a pixel by the red cells of pieces all over a slide that states none."""
    everywhere = survey(slide, None, whole=True)
    red_px = _red_cells(slide, everywhere)
    return None if red_px is None else RED_CELL_UM / red_px


def _red_cells(slide: Slide, seen: Survey) -> float | None:
    """Median diameter of red cells in pieces of the counted tiles, px."""
    looked_at = pieces(slide, seen, _RULED, _RULER_PX)
    diameters = [red_cell_px(white_balance(pixels, background_color(pixels))) for pixels in looked_at]
    known = [f for f in diameters if f is not None]
    return float(np.median(known)) if known else None


def _unread(source: Source, error: ImageError) -> Unread:
    detail = None if error.by_decoder else str(error).removeprefix(f"{source.file}: ")
    try:
        digest = slide_digest(source.file)
    except ImageError:
        digest = None
    return Unread(error.reason, detail, digest)


def _why_nothing(said: dict) -> str:
    """Why nothing of a slide is counted, and what to do."""
    areas = ", ".join(f"{mm2:g} mm² {VERDICTS[letter]}" for letter, mm2 in said["mm2"].items())
    return f"no monolayer was found on this slide ({areas}); --whole counts everything"

"""Every box and outline held to the same rules, whatever the format: kept, repaired or dropped, and listed."""

import math
from collections.abc import Callable, Iterator, Sequence

from leukoscope.dataset.manifest import TruthCell
from leukoscope.dataset.raw import Box, Contour, Issue, RawCell, RawField, bounds

_ROUNDING_PX = 0.01  # a box this far over the edge is a rounded number, not a wrong box
_NO_AREA_PX = 0.01  # the manifest keeps three decimals
_TINY_PX = 2.0  # a side that a slipped click draws and no cell has
_ONE_CELL = 0.85  # overlap (intersection over union) of two boxes that are one cell drawn twice: cells don't lie so
_AGREE = 0.5  # below it, a box and the box around its own outline are not of one cell


def check_cells(field: RawField, class_of: Callable[[str], str | None], issues: list[Issue]) -> tuple[TruthCell, ...]:
    """The field's cells with boxes and outlines inside the picture; what is dropped or repaired is listed."""
    cells: list[TruthCell] = []
    seen: set[tuple] = set()
    codes: dict[Box, str] = {}
    for cell in field.cells:
        box = _check_box(cell, field, issues)
        if box is None:
            continue
        source_code = cell.code if cell.source_code is None else cell.source_code
        if (box, cell.code, source_code) in seen:
            issues.append(Issue(field.file, "dropped", "box given twice", f"{cell.code} {_show(box)}"))
            continue
        seen.add((box, cell.code, source_code))
        if codes.setdefault(box, cell.code) != cell.code:
            detail = f"{codes[box]} and {cell.code} {_show(box)}"
            issues.append(Issue(field.file, "noted", "one box of two classes, both kept", detail))
        contour = None if cell.contour is None else _check_outline(cell, field, issues)
        if contour is not None and overlap(box, bounds(contour)) < _AGREE:
            issues.append(Issue(field.file, "noted", "box and outline disagree", f"{cell.code} {_show(box)}"))
        cells.append(TruthCell(box, class_of(cell.code), source_code, contour, cell.attributes))
    _note_drawn_twice(cells, field, issues)
    return tuple(cells)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return width * height / (areas - width * height)


def _note_drawn_twice(cells: list[TruthCell], field: RawField, issues: list[Issue]) -> None:
    for cell, other in drawn_twice(cells):
        detail = f"{cell.source_code} {_show(cell.box)} and {other.source_code} {_show(other.box)}, both kept"
        issues.append(Issue(field.file, "noted", "two boxes nearly the same: one cell drawn twice?", detail, 2))


def drawn_twice(cells: Sequence[TruthCell]) -> Iterator[tuple[TruthCell, TruthCell]]:
    """Pairs of boxes that are nearly one, not just one: two jobs over a picture, or a slipped second click."""
    ordered = sorted(cells, key=lambda c: c.box[0])
    for place, cell in enumerate(ordered):
        # An overlap of 0.85 leaves the left edges within 0.15 of a side; the rest need no look.
        reach = cell.box[0] + (1 - _ONE_CELL) * (cell.box[2] - cell.box[0])
        for other in ordered[place + 1 :]:
            if other.box[0] > reach:
                break
            if other.box != cell.box and overlap(cell.box, other.box) >= _ONE_CELL:
                yield cell, other


def _check_box(cell: RawCell, field: RawField, issues: list[Issue]) -> Box | None:
    """The box inside its picture, to three decimals, or None."""
    x0, y0, x1, y1 = cell.box
    if 0 <= x0 <= x1 - _TINY_PX and 0 <= y0 <= y1 - _TINY_PX and x1 <= field.width and y1 <= field.height:
        return round(x0, 3) + 0.0, round(y0, 3) + 0.0, round(x1, 3), round(y1, 3)  # nearly every box

    def note(action: str, reason: str) -> None:
        detail = f"{cell.code} {_show(cell.box)} in {field.width}x{field.height}"
        issues.append(Issue(field.file, action, reason, detail))

    if not math.isfinite(x0 + y0 + x1 + y1):
        note("dropped", "box is not a number")
        return None
    if x1 < x0 or y1 < y0:
        note("repaired", "corners swapped")
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    if min(x1 - x0, y1 - y0) < _NO_AREA_PX:
        note("dropped", "box without area")
        return None
    width, height = float(field.width), float(field.height)
    cut = (
        round(max(x0, 0.0), 3) + 0.0,
        round(max(y0, 0.0), 3) + 0.0,
        round(min(x1, width), 3),
        round(min(y1, height), 3),
    )
    if min(cut[2] - cut[0], cut[3] - cut[1]) < _NO_AREA_PX:
        note("dropped", "box outside its picture")
        return None
    if min(x0, y0, width - x1, height - y1) < -_ROUNDING_PX:
        note("repaired", "box cut at the picture's edge")
    if min(x1 - x0, y1 - y0) < _TINY_PX <= min(width, height) / 4:
        note("noted", "box of less than 2 px: a slipped click?")
    return cut


def _check_outline(cell: RawCell, field: RawField, issues: list[Issue]) -> Contour | None:
    """The outline inside its picture, to three decimals, or None where it encloses nothing: the box then stays."""

    def note(reason: str) -> None:
        issues.append(Issue(field.file, "repaired", reason, f"{cell.code} {_show(cell.box)}"))

    if not all(math.isfinite(x + y) for x, y in cell.contour):
        note("outline is not a number: box only")
        return None
    width, height = float(field.width), float(field.height)
    inside = tuple(
        (round(min(max(x, 0.0), width), 3) + 0.0, round(min(max(y, 0.0), height), 3) + 0.0) for x, y in cell.contour
    )
    if not _encloses(inside):
        note("outline without area: box only")
        return None
    if any(
        abs(x - p) > _ROUNDING_PX or abs(y - q) > _ROUNDING_PX
        for (x, y), (p, q) in zip(cell.contour, inside, strict=True)
    ):
        note("outline cut at the picture's edge")
    return inside


def _encloses(contour: Contour) -> bool:
    if len(contour) < 3:
        return False
    x0, y0 = contour[0]
    doubled = sum(
        (x - x0) * (q - y0) - (p - x0) * (y - y0)
        for (x, y), (p, q) in zip(contour, (*contour[1:], contour[0]), strict=True)
    )
    return abs(doubled) > 2 * _NO_AREA_PX**2


def _show(box: Box) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in box) + "]"

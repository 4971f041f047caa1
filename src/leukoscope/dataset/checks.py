"""Every box and outline held to the same rules, whatever the format: kept, repaired or dropped, and listed."""

from __future__ import annotations

import math
from collections.abc import Callable

from leukoscope.dataset.manifest import TruthCell
from leukoscope.dataset.raw import Box, Contour, Issue, RawCell, RawField

_ROUNDING_PX = 0.01  # a box this far over the edge is a rounded number, not a wrong box
_NO_AREA_PX = 0.01  # the manifest keeps three decimals


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
        cells.append(TruthCell(box, class_of(cell.code), source_code, contour, cell.attributes))
    return tuple(cells)


def _check_box(cell: RawCell, field: RawField, issues: list[Issue]) -> Box | None:
    """The box inside its picture, to three decimals, or None."""
    x0, y0, x1, y1 = cell.box

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

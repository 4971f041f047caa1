"""Shapes that tools draw, as a cell's box and outline: turned boxes, ellipses, circles, polygons, masks."""

import math
from collections.abc import Callable, Sequence

from leukoscope.dataset.intake import Seat
from leukoscope.dataset.raw import Box, Contour, Issue, RawCell, RawSet, bounds, number
from leukoscope.errors import DataError

_ELLIPSE_POINTS = 64  # a multiple of four: the outline then touches its box; its area is 0.2 % under the ellipse's


def rotated(points: Sequence, degrees: float, center: tuple[float, float]) -> Contour:
    """Points turned clockwise on screen about a center."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = center
    return tuple((cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos) for x, y in points)


def corners_of(box: Box) -> Contour:
    """The four corners of a box, clockwise from its top left."""
    x0, y0, x1, y1 = box
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def center_of(box: Box) -> tuple[float, float]:
    """The middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def turned_box(
    box: Box, degrees: object, code: str, *, about: tuple[float, float] | None = None
) -> tuple[RawCell, bool]:
    """(cell, whether it was turned) of a box that stands `degrees` clockwise, about its middle unless said otherwise.

    The cell's box is the one around it, its outline the turned corners. ValueError for an angle that is no number.
    """
    angle = number(degrees or 0)
    if not math.isfinite(angle):
        raise ValueError(f"the angle {degrees!r} is no number")
    if not angle % 360:
        return RawCell(box, code), False
    contour = rotated(corners_of(box), angle, center_of(box) if about is None else about)
    return RawCell(bounds(contour), code, contour), True


def ellipse(center: tuple[float, float], radii: tuple[float, float], code: str, *, degrees: float = 0.0) -> RawCell:
    """An ellipse's exact box, with 64 points of it as the outline; ValueError for a radius that is none."""
    (cx, cy), (rx, ry) = center, radii
    if not all(math.isfinite(v) for v in (cx, cy, rx, ry, degrees)) or min(rx, ry) <= 0:
        raise ValueError(f"an ellipse of radii {rx:g} and {ry:g}")
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_w, half_h = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    steps = (2 * math.pi * k / _ELLIPSE_POINTS for k in range(_ELLIPSE_POINTS))
    points = [(cx + rx * math.cos(t), cy + ry * math.sin(t)) for t in steps]
    contour = rotated(points, degrees, center) if degrees else tuple(points)
    return RawCell((cx - half_w, cy - half_h, cx + half_w, cy + half_h), code, contour)


def polygon(points: object, code: str) -> RawCell:
    """A cell from a list of [x, y] points; ValueError where there are not three of them."""
    if not isinstance(points, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in points):
        raise ValueError("expected points [[x, y], …]")
    contour = tuple((number(x), number(y)) for x, y in points)
    if len(contour) < 3:
        raise ValueError("expected three points or more")
    return RawCell(bounds(contour), code, contour)


def largest(contours: Sequence[Contour]) -> Contour:
    """The outline that encloses most; one that is no number encloses nothing."""
    return max(contours, key=_area)


def _area(contour: Contour) -> float:
    shifted = (*contour[1:], contour[0])
    doubled = abs(sum(x * q - p * y for (x, y), (p, q) in zip(contour, shifted, strict=True)))
    return doubled / 2 if doubled == doubled else 0.0


def pairs_of(values: object) -> list[tuple[float, float]]:
    """[(x, y), …] of a flat list x, y, x, y, …; ValueError where it is none."""
    if not isinstance(values, (list, tuple)) or len(values) % 2:
        raise ValueError("expected a list x, y, x, y, …")
    numbers = [number(v) for v in values]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def whole_picture(classes: Sequence[str], where: str, seat: Seat, raw: RawSet) -> list[RawCell]:
    """The full-frame cell of a picture that one word classifies; of several words none can be chosen: listed."""
    if len(classes) > 1:
        raw.drop(seat.file, "several classes of one whole picture", f"{where}: {', '.join(classes)[:80]}", len(classes))
        return []
    return [RawCell((0.0, 0.0, *map(float, seat.stated)), code.strip()) for code in classes]


def note_turned(raw: RawSet, file: str, where: str) -> None:
    """List a turned box as repaired: a manifest's boxes stand upright."""
    raw.issues.append(Issue(file, "repaired", "rotated box: the box around it", where))


def drawn_cell(
    kind: str, code: str, read: Callable[[], RawCell], *, is_outline: bool, unnamed: str, place: tuple[RawSet, str, str]
) -> RawCell | None:
    """What `read` makes of an object that a tool drew, in px, or None where it can be no cell: listed then.

    kind        what the tool calls the shape; is_outline: whether one of that kind can outline a cell
    code        its class, "" for none: `unnamed` says so
    place       the set, its picture, and the object in words
    """
    raw, file, where = place
    if not is_outline:
        raw.drop(file, f"a {kind[:30]} is no outline of a cell", where)
    elif not code:
        raw.drop(file, unnamed, where)
    else:
        try:
            return read()
        except (ValueError, DataError) as error:
            raw.drop(file, f"{kind[:30]} that can't be read", f"{where}, {code[:60]}: {str(error)[:80]}")
    return None

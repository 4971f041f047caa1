"""A region of a slide: what becomes one field of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a slide that is analysed as one field. Boxes are [x0, y0, x1, y1], half-open, px of level 0.

    box        what is read: the part that is counted, and a halo in which cells of its border are whole
    core       what is counted: a cell belongs to the region whose core holds its middle
    keep       the core with a narrow band towards counted neighbours. Cells of the band are kept by both sides and
               counted once, so that a box that differs by a pixel between two views is neither lost nor counted twice
    um_per_px  by the file; None: it says nothing
    red_px     diameter of the slide's red cells in px; None: too few were seen
    sha256     of the slide's files when the run was planned
    """

    box: Box
    core: Box
    keep: Box
    um_per_px: float | None
    red_px: float | None
    sha256: str

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @staticmethod
    def from_dict(said: dict) -> Region:
        """The region that `to_dict` gave."""
        boxes = [_box_of(said[name]) for name in ("box", "core", "keep")]
        box, core, keep = boxes
        return Region(box, core, keep, um_per_px=said["um_per_px"], red_px=said["red_px"], sha256=said["sha256"])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of what is read."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def _box_of(said: list) -> Box:
    x0, y0, x1, y1 = (int(v) for v in said)
    return x0, y0, x1, y1

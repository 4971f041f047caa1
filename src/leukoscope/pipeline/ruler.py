"""One ruler a smear: how wide its red cells are in its photographs, measured on the first of them.

A single photograph's red cells scatter by a tenth and more, and by other tenths when the picture is mirrored; the
median over several fields of one camera does not. The ruler says how large the locator must be shown the cells, and
how large they are in micrometres.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images import background_color, header_megapixels, open_stored, read_pictures, white_balance
from leukoscope.images.slides import Region
from leukoscope.pipeline.photographs import Rooms
from leukoscope.pipeline.sources import Source
from leukoscope.scale import red_cell_px

POOLED = 5  # photographs of a smear: their median scatters by a twentieth


@dataclass(frozen=True, slots=True, eq=False)
class Ruler:
    """Diameter in px of a smear's red cells, by the size (width, height) of its photographs; None: none are seen.

    of_slide  whether it is a slide's: then there is one diameter, under (0, 0)
    """

    red_cells: dict[tuple[int, int], float | None]
    of_slide: bool = False

    def of(self, pixels: np.ndarray) -> float | None:
        """For a photograph (H, W, 3) uint8 RGB: the smear's where one of this size was measured, else its own."""
        size = (0, 0) if self.of_slide else (pixels.shape[1], pixels.shape[0])
        return self.red_cells[size] if size in self.red_cells else _measure(pixels)


def smear_of(source: Source) -> tuple[str, ...]:
    """What photographs, or regions of a slide, have in common that share a ruler."""
    smear = (source.key.patient_id, source.key.smear_id)
    return smear if source.part is None else (*smear, source.file)


def first_of_each(sources: Sequence[Source]) -> dict[tuple[str, ...], list[Source]]:
    """The first POOLED photographs of every smear, in the order given: what a resumed run measures again alike."""
    first: dict[tuple[str, ...], list[Source]] = defaultdict(list)
    for source in sources:
        if len(first[smear_of(source)]) < POOLED:
            first[smear_of(source)].append(source)
    return dict(first)


def measure_ruler(sources: Sequence[Source], rooms: Rooms) -> Ruler:
    """The ruler of one smear from a few of its photographs; those that can't be read say nothing.

    A smear of one photograph has none: the photograph is measured when it is read. A slide's red cells were measured
    when its regions were chosen.
    """
    if isinstance(sources[0].part, Region):
        return Ruler({(0, 0): sources[0].part.red_px}, of_slide=True)
    if sources[0].part is not None:
        return Ruler({})
    if len(sources) == 1:
        return Ruler({})
    measured: dict[tuple[int, int], list[float]] = defaultdict(list)
    for pixels in _pictures(sources, rooms):
        diameter = _measure(pixels)
        measured[pixels.shape[1], pixels.shape[0]] += [] if diameter is None else [diameter]
    return Ruler({size: float(np.median(lengths)) if lengths else None for size, lengths in measured.items()})


def _pictures(sources: Sequence[Source], rooms: Rooms) -> Iterator[np.ndarray]:
    for source in sources:
        try:
            with open_stored(source.file) as file, rooms.pixels.hold(header_megapixels(file)):
                for picture in read_pictures(file):
                    if picture.error is None:
                        yield picture.pixels
        except (ImageError, MemoryError):
            continue  # the photograph's own entry says why


def _measure(pixels: np.ndarray) -> float | None:
    return red_cell_px(white_balance(pixels, background_color(pixels)))

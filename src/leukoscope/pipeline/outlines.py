"""What the record says of a cell's outline: docs/record.md, `cells[]`."""

import numpy as np

from leukoscope.outline import Outlines

RATIO_DIGITS = 4


def outline_entries(outlines: Outlines) -> list[dict]:
    """Per cell its contour, its nucleus's contours, their areas in px² and the N:C ratio; null where nothing was seen.

    Contours run along pixel edges: their corners are whole numbers.
    """
    cells, areas, nucleus_areas, ratios = (
        outlines.cells, outlines.cell_area_px, outlines.nucleus_area_px, outlines.nc_ratio
    )  # fmt: skip
    entries = []
    for contour, nuclei, area, nucleus_area, ratio in zip(
        cells.contours, outlines.nuclei, areas.tolist(), nucleus_areas.tolist(), ratios.tolist(), strict=True
    ):
        seen = len(contour) > 0
        entries.append(
            {
                "contour": _corners(contour) if seen else None,
                "nuclei": [_corners(part) for part in nuclei],
                "cell_area_px": round(area) if seen else None,
                "nucleus_area_px": round(nucleus_area) if seen else None,
                "nc_ratio": round(ratio, RATIO_DIGITS) if seen else None,
            }
        )
    return entries


def _corners(contour: np.ndarray) -> list[list[int]]:
    return contour.astype(int).tolist()

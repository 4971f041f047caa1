"""Masks beside rendered cohorts: nuclei lie in their cells and where the picture is dark."""

from __future__ import annotations

import numpy as np
from PIL import Image

from leukoscope.dataset.masks import read_mask_values
from leukoscope.geometry import contour_area
from leukoscope.simulate.field import render_field
from leukoscope.simulate.look import choose_look
from leukoscope.simulate.writing import write_mask


def test_nuclei_lie_in_their_cells_and_are_dark(tmp_path):
    rng = np.random.default_rng(2)
    look = choose_look(rng)
    pixels, placed = render_field(rng, look, ["segmented_neutrophil", "lymphocyte", "monocyte", "smudge_cell"])
    write_mask(tmp_path, "images/p/rendered_1.jpg", look, placed)
    values = read_mask_values(tmp_path / "masks" / "rendered_1.png")
    assert values.shape == pixels.shape[:2] and set(np.unique(values)) == {0, 140, 255}
    green = np.asarray(Image.fromarray(pixels).convert("RGB"))[..., 1].astype(float)
    assert green[values == 255].mean() < green[values == 140].mean() - 20 < green[values == 0].mean() - 20
    for cell in placed:
        shares = [contour_area(part) / contour_area(cell.contour) for part in cell.nuclei]
        assert (0.05 < sum(shares) < 0.95) == (cell.drawn_as != "smudge_cell")
    (neutrophil,) = (c for c in placed if c.drawn_as == "segmented_neutrophil")
    assert all(np.abs(part.mean(0) - neutrophil.contour.mean(0)).max() < 80 for part in neutrophil.nuclei)

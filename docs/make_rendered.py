"""Draw docs/rendered-cells.jpg, every drawing five times, and docs/rendered-fields.jpg, a field of each kind.

    python docs/make_rendered.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from leukoscope.simulate import CohortOptions
from leukoscope.simulate.background import lay
from leukoscope.simulate.camera import photograph
from leukoscope.simulate.cell import choose_clone
from leukoscope.simulate.cohort import UNLISTED
from leukoscope.simulate.disease import plan_patients
from leukoscope.simulate.field import render_field
from leukoscope.simulate.look import choose_centers, choose_look, field_look, patient_look
from leukoscope.simulate.white_cells import DRAW
from leukoscope.simulate.writing import NOTE

DOCS = Path(__file__).resolve().parent
SEED = 3
TILE, TALL, N_EACH, TOP = 220, 470, 5, 40  # px: a tile, the last row, drawings a class, room for the label
LARGE = ("promegakaryocyte", "megakaryocyte")


def cells_sheet() -> Image.Image:
    """Two columns of classes on one rendered picture."""
    names = [n for n in DRAW if n not in LARGE]
    n_rows = (len(names) + 1) // 2
    width, height = 2 * N_EACH * TILE, TOP + n_rows * TILE + TALL
    stain = np.zeros((height, width, 3), np.float32)
    captions = []
    for number, name in enumerate(names):
        left, top = (number // n_rows) * N_EACH * TILE, TOP + (number % n_rows) * TILE
        captions.append((name, left, top))
        _row(stain, name, left, top, TILE, N_EACH)
    for name, left in zip(LARGE, (0, width // 2), strict=True):
        captions.append((name, left, height - TALL))
        _row(stain, name, left, height - TALL, TALL, 2)
    look = replace(choose_look(np.random.default_rng(SEED)), width=width, height=height, vignette=0.0, tilt=(0.0, 0.0))
    sheet = Image.fromarray(photograph(np.random.default_rng(SEED), look, stain))
    sheet = sheet.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    words = ImageDraw.Draw(sheet)
    for name, left, top in captions:
        words.text((left // 2 + 4, top // 2 + 2), name.replace("_", " "), fill=(40, 40, 40))
    return sheet


def _row(stain: np.ndarray, name: str, left: int, top: int, tile: int, n: int) -> None:
    for k in range(n):
        rng = np.random.default_rng([SEED, len(name), k])
        place = np.array([left + k * tile + tile // 2, top + tile // 2])
        lay(stain, DRAW[name](rng, choose_clone(rng)), place, hides=0.0)


def fields_sheet() -> Image.Image:
    """Two laboratories' blood above two laboratories' marrow; the drawn outlines on the right-hand ones."""
    sheet = Image.new("RGB", (1240, 930), (255, 255, 255))
    for row, specimen in enumerate(("blood", "marrow")):
        rng = np.random.default_rng(SEED)
        looks = choose_centers(rng, 4, specimen=specimen)
        plan = plan_patients(rng, CohortOptions(specimen, patients=8, centers=4, seed=SEED))
        for column in range(2):
            own, patient = np.random.default_rng([SEED, row, column]), plan[2 * column + 1]
            look = field_look(own, patient_look(own, looks[patient.center]))
            drawings = [drawing for _, drawing in patient.fields[0]]
            pixels, placed = render_field(own, look, drawings, clone=choose_clone(own), fat=specimen == "marrow")
            picture = Image.fromarray(pixels)
            if column:
                pen = ImageDraw.Draw(picture)
                for cell in (c for c in placed if c.drawn_as not in UNLISTED[specimen]):
                    pen.line([tuple(p) for p in (*cell.contour, cell.contour[0])], fill=(0, 120, 60), width=3)
            picture = ImageOps.fit(picture, (616, 462), Image.Resampling.LANCZOS, centering=(0, 0))
            sheet.paste(picture, (column * 624, row * 468))
    return sheet


if __name__ == "__main__":
    cells_sheet().save(DOCS / "rendered-cells.jpg", "JPEG", quality=72, comment=NOTE.encode())
    fields_sheet().save(DOCS / "rendered-fields.jpg", "JPEG", quality=72, comment=NOTE.encode())

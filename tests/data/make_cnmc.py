"""A set in the layout of C-NMC: class folders all and hem, the subject in the file's name, cells on black.

11 leukaemic subjects of uneven size and 3 healthy ones, as in the published part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LEUKAEMIC = {"51": 9, "34": 5, "32": 4, "30": 4, "46": 3, "33": 3, "44": 3, "38": 2, "23": 2, "2": 2, "16": 1}
HEALTHY = {"H10": 5, "H14": 4, "H22": 4}


def make_cnmc(root: Path) -> Path:
    """Write the set under `root`: 38 + 13 cells."""
    for folder, subjects in (("all", LEUKAEMIC), ("hem", HEALTHY)):
        for subject, n_cells in subjects.items():
            for cell in range(n_cells):
                pixels = np.zeros((20, 22, 3), np.uint8)
                pixels[4:16, 5:17] = (110 + cell, 60, 130 + len(subject))
                pixels[8, 8] = sum(map(ord, subject)) % 256
                path = root / folder / f"UID_{subject}_{cell + 1}_1_{folder}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root

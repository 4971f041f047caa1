"""A set in the layout of `jtsc` and `cellavision`: numbered crops, masks, and labels.csv of number and code.

Traps: Windows line ends, a stray mask value in the corner, an empty mask, a missing mask, a row without a picture,
a picture without a row.
"""

from __future__ import annotations

from pathlib import Path

from data.make_pictures import draw_field, draw_mask

SIZE = (40, 32)
CELL = (20.0, 16.0, 9.0)  # x, y, radius
BOX = (11.0, 7.0, 29.0, 25.0)


def make_jtsc(root: Path, *, label_column: str = "class label") -> Path:
    """Write the set under `root`; cellavision calls its label column `class`."""
    rows = [f"image ID,{label_column}"]
    for number in range(1, 8):
        draw_field(root / "images" / f"{number:03d}.png", SIZE, [CELL], seed=number)
        rows.append(f"{number},{(number - 1) % 5 + 1}")
    for number in (1, 2, 3, 4, 5):
        draw_mask(root / "masks" / f"{number:03d}.png", SIZE, CELL, stray=37 if number == 2 else None)
    draw_mask(root / "masks" / "006.png", SIZE, (20, 16, 0))  # empty; 007 has none
    draw_field(root / "images" / "008.png", SIZE, [CELL], seed=8)  # no row
    rows.append("9,1")  # no picture
    (root / "labels.csv").write_bytes(("\r\n".join(rows) + "\r\n").encode())
    return root

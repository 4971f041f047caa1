"""A set in the layout of `draaslan`: RGBA pictures and one table of relative corners.

Traps: alpha channel, a Windows path, a byte order mark, a box over the edge by rounding, one that is no number.
"""

from __future__ import annotations

from pathlib import Path

from data.make_pictures import draw_field
from PIL import Image

SIZE = (50, 40)


def make_draaslan(root: Path) -> Path:
    """Write the set under `root`: two pictures, three good boxes."""
    for number in (1, 2):
        path = root / "images" / f"image-{number}.png"
        draw_field(path, SIZE, [(25, 20, 10)], seed=number)
        with Image.open(path) as picture:
            picture.convert("RGBA").save(path)
    rows = [
        "image_id,image,xmin,ymin,xmax,ymax,label",
        "1,image-1.png,0.3,0.25,0.7,0.75,wbc",
        "1,images\\image-1.png,0.0,0.0,0.2,0.25,rbc",
        "2,image-2.png,0.5,0.5,1.00001,1.00001,rbc",
        "2,image-2.png,0.1,nan,0.2,0.3,rbc",
        "2,image-2.png,0.1,,0.2,0.3,rbc",
    ]
    (root / "annotations.csv").write_bytes(b"\xef\xbb\xbf" + ("\n".join(rows) + "\n").encode())
    return root

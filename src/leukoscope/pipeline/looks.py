"""A small grey picture of each field, kept in the journal: what repeats are found by, without reading a file again."""

import base64
import io

import numpy as np
from PIL import Image

from leukoscope.raster import Pixels, Raster

LOOK_PX = 128  # longer side
_QUALITY = 90
_THINNED_PX = 1024  # longer side, to which rows and columns of a large photograph are left out first


def look_of(pixels: Pixels) -> str:
    """Base64 JPEG of the green channel of `pixels` (H, W, 3) uint8, averaged over areas."""
    grey = Raster.of(pixels).green()
    step = max(1, max(grey.size) // _THINNED_PX)
    if step > 1:
        grey = Image.fromarray(np.ascontiguousarray(np.asarray(grey)[::step, ::step]))
    scale = LOOK_PX / max(grey.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize(size, Image.Resampling.BOX)
    out = io.BytesIO()
    grey.save(out, "JPEG", quality=_QUALITY)
    return base64.b64encode(out.getvalue()).decode("ascii")


def read_look(look: str) -> np.ndarray:
    """(h, w) uint8 of a look."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(look))))

"""Small slides with known pixels, as scanners and stitching programs leave them. Pixels are lossless (Deflate)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TILE = 256


def make_slide(
    path: Path, pixels: np.ndarray, *, um_per_px: float | None = 0.25, steps: tuple[int, ...] = (4, 16)
) -> Path:
    """A pyramidal TIFF in tiles of `pixels` (H, W, 3) uint8, as OpenSlide reads it whatever its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, *steps):
            size = (pixels.shape[1] // step, pixels.shape[0] // step)
            level = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX)) if step > 1 else pixels
            scale = {} if um_per_px is None else {"resolution": (1e4 / um_per_px / step,) * 2, "resolutionunit": 3}
            tiff.write(
                level,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(step > 1),
                metadata=None,
                **scale,
            )
    return path


def make_ome(path: Path, planes: np.ndarray, *, um_per_px: float = 0.25) -> Path:
    """An OME-TIFF of planes (Z, H, W, 3) uint8 with one smaller level."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        said = {"axes": "ZYXS", "PhysicalSizeX": um_per_px, "PhysicalSizeXUnit": "µm"}
        more = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "deflate"}
        tiff.write(planes, subifds=1, metadata=said, **more)
        tiff.write(planes[:, ::4, ::4], subfiletype=1, **more)
    return path


def make_stitched(path: Path, pixels: np.ndarray, *, compression: str | None = "deflate", rows: int = 64) -> Path:
    """A photograph put together from many, in strips over its whole width and without a pyramid."""
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, rowsperstrip=rows, metadata=None)
    return path

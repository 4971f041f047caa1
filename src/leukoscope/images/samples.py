"""From any decoded picture to 8-bit RGB: bit depths, palettes, inks and transparency."""

import numpy as np
from PIL import Image

from leukoscope.errors import ImageError

_DEPTHS = (8, 10, 12, 14, 16)  # bits a sample that cameras have
_WHITE = (255, 255, 255)


def to_rgb(image: Image.Image, low: np.ndarray | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    """8-bit RGB, and notes in words; ImageError "unsupported" for sample types without a known range.

    low  the low bytes of 16-bit colour (as `image` holds the high ones), where those matter
    """
    if low is not None:
        values = (np.asarray(image).astype(np.uint16) << 8) | low
        color, notes = _scaled(values[..., :3], None)
        return Image.fromarray(color), notes
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, ()
    if image.mode.startswith("I;16"):
        stated = tuple(getattr(image, "tag_v2", {}).get(258, (16,)))  # TIFF BitsPerSample; Pillow says I;16 of 12 too
        grey, notes = _scaled(np.asarray(image).astype(np.uint16), 12 if stated == (12,) else None)  # native byte order
        return Image.fromarray(grey).convert("RGB"), notes
    if image.mode in ("I", "F", "LAB"):
        raise ImageError("unsupported", f"its pixels are of type {image.mode!r}; save it as 8-bit or 16-bit RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB"), ()


def _on_white(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """RGB of RGBA. Where all is transparent the writer left the fourth channel empty: it says nothing."""
    alpha = image.getchannel("A")
    low, high = alpha.getextrema()
    if high == 0:
        return image.convert("RGB"), ("its transparency, which hides all of it, was left out",)
    if low == 255:
        return image.convert("RGB"), ()
    on_white = Image.new("RGB", image.size, _WHITE)
    on_white.paste(image, mask=alpha)
    return on_white, ()


def _scaled(values: np.ndarray, bits: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint16 samples as uint8: the high eight of the bits that are in use, by `bits` or by the greatest value."""
    if bits is not None:
        return (values >> (bits - 8)).astype(np.uint8), ()
    used = next(d for d in _DEPTHS if int(values.max(initial=0)) < 1 << d)
    note = (f"its 16-bit samples fill {used} bits",) if used < 16 else ()
    return (values >> (used - 8)).astype(np.uint8), note

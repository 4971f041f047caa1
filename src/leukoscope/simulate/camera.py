"""Light through stain, lens and camera: from optical density on the smear to the picture's pixels."""

import numpy as np
from PIL import Image, ImageFilter

from leukoscope.simulate.label import burn_label
from leukoscope.simulate.look import Look

_ROWS = 32


def photograph(rng: np.random.Generator, look: Look, stain: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 RGB of a smear: stain (H, W, 3) optical density at `PX_PER_UM`.

    Lambert-Beer in this laboratory's stain, the lens's blur, the camera's scale, its lamp, sharpening and noise;
    the word RENDERED last, so that nothing blurs it.
    """
    picture = Image.fromarray(_light(look, stain))
    if picture.size != (look.width, look.height):
        picture = picture.resize((look.width, look.height), Image.Resampling.BICUBIC)
    sharp = picture.filter(ImageFilter.GaussianBlur(look.blur_um / look.um_per_px))
    if look.focus_um > 0:
        soft = picture.filter(ImageFilter.GaussianBlur((look.blur_um + look.focus_um) / look.um_per_px))
        sharp = Image.composite(soft, sharp, _slant(rng, look))
    if look.sharpen:
        sharp = sharp.filter(ImageFilter.UnsharpMask(2, look.sharpen, 0))
    return burn_label(_expose(rng, look, sharp))


def _light(look: Look, stain: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: what passes through the stain, some rows at a time so that they stay in the cache."""
    mix, glass = -np.array(look.stain, np.float32), np.array(look.glass, np.float32)
    light = np.empty(stain.shape, np.uint8)
    for top in range(0, len(stain), _ROWS):
        part = stain[top : top + _ROWS]
        passed = np.exp(np.minimum((part.reshape(-1, 3) @ mix).reshape(part.shape), 0)) * glass
        light[top : top + _ROWS] = np.minimum(passed, 255)
    return light


def _slant(rng: np.random.Generator, look: Look) -> Image.Image:
    """A mask that grows from one edge of the field to the opposite one."""
    turn = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, look.width), np.linspace(-1, 1, look.height)[:, None]
    along = np.clip(0.5 + 0.9 * (x * np.cos(turn) + y * np.sin(turn)), 0, 1)
    return Image.fromarray((255 * along).astype(np.uint8))


def _expose(rng: np.random.Generator, look: Look, picture: Image.Image) -> np.ndarray:
    """The lamp's evenness and the sensor's noise."""
    shape = (look.height, look.width)
    x, y = np.linspace(-1, 1, shape[1], dtype=np.float32), np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    lamp = 1 + look.tilt[0] * x + look.tilt[1] * y - look.vignette * (x * x + y * y) / 2
    pixels, exposed = np.asarray(picture), np.empty((*shape, 3), np.uint8)
    for top in range(0, shape[0], _ROWS):
        part = np.s_[top : top + _ROWS]
        light = pixels[part] * lamp[part, :, None].astype(np.float32)
        light += rng.standard_normal((*light.shape[:2], 1), dtype=np.float32) * (0.8 * look.noise)
        light += rng.standard_normal(light.shape, dtype=np.float32) * (0.6 * look.noise)
        exposed[part] = np.clip(light + 0.5, 0, 255)
    return exposed

"""What a smear and a camera look like: of the demo's patients, and of the centres of a cohort and their patients."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from leukoscope.simulate.cell import PX_PER_UM

# Width and height in px, micrometres a pixel: all see about the same piece of a smear, some in more pixels.
CAMERAS = (
    (1600, 1200, 0.108), (1280, 960, 0.136), (1920, 1080, 0.104), (1360, 1024, 0.128), (1440, 1080, 0.118),
    (1200, 900, 0.148),
)  # fmt: skip
_DEMO = {"width": 1024, "height": 768, "um_per_px": 1 / PX_PER_UM, "sharpen": 0}
_FLAWLESS = dict.fromkeys(("focus_um", "plasma", "debris", "unfocused", "touching"), 0.0)
GLASSES = np.array([(250, 233, 208), (238, 240, 236), (243, 232, 238), (232, 236, 244)], np.float32)


@dataclass(frozen=True, slots=True)
class Look:
    """What one patient's smear and microscope look like.

    width, height, um_per_px   of the picture
    glass       3 numbers, RGB of empty glass; stain: 3 rows of 3, from our optical density to this laboratory's
    tilt        how much brighter the right and lower edges are; vignette: how much darker the corners
    blur_um     of lens and focus, everywhere; focus_um: further blur at one edge of a field that is at a slant
    sharpen     the camera's own sharpening, percent; noise: of its sensor, grey levels; quality: JPEG
    crowding    share of the field covered by red cells; pallor: of their middles; plasma: stain between the cells
    debris      grains of stain on a field, on average
    unfocused   share of white cells that lie above or below the focus
    touching    share of white cells that lie at, or partly over, another
    """

    glass: tuple[float, float, float]
    stain: tuple[tuple[float, float, float], ...]
    tilt: tuple[float, float]
    vignette: float
    blur_um: float
    noise: float
    crowding: float
    pallor: float
    quality: int
    width: int
    height: int
    um_per_px: float
    focus_um: float
    sharpen: int
    plasma: float
    debris: float
    unfocused: float
    touching: float

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)


def choose_look(rng: np.random.Generator) -> Look:
    """A stain, a lamp and a camera for one patient of the demo."""
    weights = rng.dirichlet(np.full(len(GLASSES), 0.5))
    return Look(
        glass=_numbers(weights @ GLASSES + rng.normal(0, 2, 3)),
        stain=_stain(rng, depth=0.09, hue=0.04),
        tilt=_numbers(rng.normal(0, 0.02, 2), 4),
        vignette=rng.uniform(0.0, 0.08),
        blur_um=rng.uniform(0.07, 0.12),
        noise=rng.uniform(1.0, 2.6),
        crowding=rng.uniform(0.30, 0.55),
        pallor=rng.uniform(0.75, 1.05),
        quality=int(rng.integers(88, 95)),
        **_DEMO,
        **_FLAWLESS,
    )


def choose_centers(rng: np.random.Generator, n: int, *, specimen: str) -> list[Look]:
    """`n` laboratories, each with its own stain, camera, scale and habits, drawn far apart from each other."""
    marrow = specimen == "marrow"
    cameras = [CAMERAS[i % len(CAMERAS)] for i in rng.permutation(max(n, len(CAMERAS)))[:n]]
    steps = {what: _far_apart(rng, n) for what in ("depth", "hue", "eosin", "blur", "noise", "light", "quality")}
    looks = []
    for k, (width, height, um_per_px) in enumerate(cameras):
        position = {what: float(values[k]) for what, values in steps.items()}  # each in [0, 1]
        weights = rng.dirichlet(np.full(len(GLASSES), 0.35))
        light = 1 - 0.16 * position["light"]
        looks.append(
            Look(
                glass=_numbers(light * (weights @ GLASSES) + rng.normal(0, 4, 3)),
                stain=_laboratory(0.68 + 0.6 * position["depth"], position["hue"] - 0.5, position["eosin"] - 0.5),
                tilt=_numbers(rng.normal(0, 0.03, 2), 4),
                vignette=rng.uniform(0.0, 0.22),
                blur_um=0.06 + 0.16 * position["blur"],
                noise=0.8 + 4.0 * position["noise"] ** 2,
                crowding=rng.uniform(0.12, 0.3) if marrow else rng.uniform(0.25, 0.5),
                pallor=rng.uniform(0.55, 1.05),
                quality=int(70 + 25 * position["quality"]),
                width=width,
                height=height,
                um_per_px=round(um_per_px * rng.uniform(0.97, 1.03), 5),
                focus_um=0.0,
                sharpen=int(rng.choice([0, 0, 60, 120])),
                plasma=rng.uniform(0.02, 0.09) if marrow else rng.uniform(0, 0.03),
                debris=rng.uniform(4, 40),
                unfocused=rng.uniform(0.04, 0.12),
                touching=rng.uniform(0.4, 0.6) if marrow else rng.uniform(0.1, 0.3),
            )
        )
    return looks


def patient_look(rng: np.random.Generator, center: Look) -> Look:
    """One patient's smear at a centre: the camera stays; stain, thickness and focus vary from smear to smear."""
    stain = np.array(_stain(rng, depth=0.08, hue=0.02))
    return replace(
        center,
        stain=_rows(np.array(center.stain) @ stain),
        glass=_numbers(np.array(center.glass) * rng.normal(1, 0.012, 3)),
        blur_um=center.blur_um * rng.uniform(0.85, 1.25),
        crowding=center.crowding * rng.uniform(0.6, 1.3),
        plasma=center.plasma * rng.uniform(0.6, 1.5),
        debris=center.debris * rng.uniform(0.3, 2.0),
    )


def field_look(rng: np.random.Generator, patient: Look) -> Look:
    """One field: one in four lies at a slant, so that one edge is out of focus."""
    slant = rng.uniform(0.1, 0.35) if rng.random() < 0.25 else 0.0
    return replace(patient, focus_um=slant)


def _far_apart(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) places in [0, 1] in random order, one in each of n equal parts."""
    return rng.permutation((np.arange(n) + rng.uniform(0.15, 0.85, n)) / n)


def _stain(rng: np.random.Generator, *, depth: float, hue: float) -> tuple[tuple[float, float, float], ...]:
    factors = np.exp(rng.normal(0, depth)) * np.exp(rng.normal(0, hue, 3))
    return _rows(np.diag(factors))


def _laboratory(depth: float, hue: float, eosin: float) -> tuple[tuple[float, float, float], ...]:
    """Rows to multiply an optical density by. hue in [-0.5, 0.5]: blue to red; eosin: pale to strong pink.

    Red and green light mix, because a basic stain that has aged (or water of another pH) moves both.
    """
    mix = np.diag([1 - 0.30 * hue, 1.0, 1 + 0.45 * hue])
    mix[1, 0] = -0.22 * hue  # what green light loses takes red light with it: bluer
    mix[1, 2] = 0.22 * eosin
    mix[2, 1] = 0.20 * eosin
    return _rows(depth * mix)


def _numbers(values: np.ndarray, digits: int = 2) -> tuple[float, ...]:
    return tuple(round(float(v), digits) for v in values)


def _rows(matrix: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple(_numbers(row, 4) for row in matrix)

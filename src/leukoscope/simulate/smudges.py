"""What is no whole cell: smudges, bare nuclei, heaps of stain."""

import numpy as np

from leukoscope.simulate.cell import PX_PER_UM, USUAL, Clone
from leukoscope.simulate.paint import Canvas, Drawn, density
from leukoscope.simulate.shapes import cover, envelope, noise, outline_depth, scatter, spots, streaks, wavy_radii

SMEARED = density(186, 132, 192)
SMEARED_DEEP = density(150, 92, 168)
FRINGE = 0.18  # what is stained less than this isn't part of the outline


def smudge_cell(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """A crushed nucleus: bare, pale, without structure, dragged out into strands one way; no cytoplasm, no membrane."""
    radius = PX_PER_UM * rng.uniform(9.0, 13.5) / 2
    canvas = Canvas(int(2.3 * radius))
    turn = rng.uniform(0, 2 * np.pi)
    along = canvas.x * np.cos(turn) + canvas.y * np.sin(turn)
    across = canvas.y * np.cos(turn) - canvas.x * np.sin(turn)
    drag = rng.uniform(1.1, 1.6)  # how far it is pulled along the smear
    body = outline_depth(along / drag, across, wavy_radii(rng, radius, wave=0.16))
    side = canvas.x.shape[0]
    strands = streaks(rng, side, (24, 7), turn)
    veil = streaks(rng, side, (50, 12), turn)
    fringe = 1 - cover(body, soft=0.9 * radius)  # strands show at the edge, not in the middle
    ragged = rng.uniform(0.35, 1.0)
    uneven = 0.14 * veil + 0.05 * noise(rng, canvas.x.shape, 9)
    depth = body + radius * (ragged * (0.02 + 0.07 * fringe) * strands + uneven)
    thick = cover(depth, soft=0.6 * radius)
    share = thick * np.clip(0.70 + ragged * (0.02 + 0.08 * fringe) * strands + 0.10 * veil, 0.1, 0.95)
    share = share * cover(canvas.half - 4 - np.hypot(canvas.x, canvas.y), soft=8)
    deep = np.clip(thick * (0.32 + 0.2 * noise(rng, canvas.x.shape, 24)), 0, 1)[..., None]
    canvas.lay(share, SMEARED + deep * (SMEARED_DEEP - SMEARED))
    return Drawn(canvas.density, 0.5 * share, envelope(share, above=FRINGE))


def bare_nucleus(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """A nucleus that lost its cytoplasm and swells: fuzzy edge, half its structure gone."""
    radius = PX_PER_UM * rng.uniform(8.0, 12.0) / 2
    radii = wavy_radii(rng, radius, wave=0.12, stretch=rng.uniform(0, 0.2))
    canvas = Canvas(int(1.35 * radii.max()) + 4)
    depth = outline_depth(canvas.x, canvas.y, radii) + 4.0 * noise(rng, canvas.x.shape, 14)
    share = cover(depth, soft=11) * np.clip(0.85 + 0.08 * noise(rng, canvas.x.shape, 8), 0, 1)
    holes = scatter(rng, cover(depth - 8), int(rng.integers(0, 4)))
    canvas.lay(share, density(132, 78, 158))
    canvas.thin(0.45 * spots(canvas.half, holes, rng.uniform(3, 6, len(holes))))
    return Drawn(canvas.density, 0.8 * share, envelope(share, above=FRINGE))


def crushed(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """A smudge, or for one in four a bare nucleus."""
    return bare_nucleus(rng, clone) if rng.random() < 0.25 else smudge_cell(rng, clone)


def stain_deposit(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """An artefact: a heap of dark stain grains."""
    radius = PX_PER_UM * rng.uniform(5.0, 13.0) / 2
    canvas = Canvas(int(1.6 * radius) + 4)
    depth = outline_depth(canvas.x, canvas.y, wavy_radii(rng, radius, wave=0.25))
    room = cover(depth, soft=8) * np.exp(3 * np.clip(depth, -20, None) / radius)
    points = scatter(rng, room * cover(canvas.half - 6 - np.hypot(canvas.x, canvas.y)), int(rng.integers(60, 220)))
    radii = 0.7 + rng.exponential(0.9, len(points)).clip(0, 3.0)
    canvas.lay(0.16 * cover(depth, soft=16), density(170, 110, 180))
    canvas.lay_spots(points, radii, density(62, 28, 92), strength=0.9)
    share = np.maximum(spots(canvas.half, points, radii + 1.0), 0.2 * cover(depth))
    return Drawn(canvas.density, share, envelope(share, above=FRINGE))

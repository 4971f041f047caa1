"""Where the white cells of a field lie: apart, touching, partly over each other, or cut by the edge."""

from dataclasses import dataclass

import numpy as np

N_TRIES = 60
APART = 1.08  # middles apart, as a share of the two cells' radii together: a gap is seen
OVERLAP = 0.80  # never nearer than this: each cell's middle stays in sight


@dataclass(frozen=True, slots=True)
class Ground:
    """A field to place cells on: width and height, and how far the label reaches into its corner, px."""

    size: tuple[int, int]
    label_x: float
    label_y: float


def place_cells(
    rng: np.random.Generator, radii: list[np.ndarray], over_edge: list[bool], ground: Ground, *, touching: float
) -> list[np.ndarray | None]:
    """A middle (x, y) for every outline (N_ANGLES,), or None where there is no room for it.

    over_edge   this cell's middle lies outside the field
    touching    share of the cells that try to lie at another, up to a fifth of the way over it
    Cells keep off the label in the upper left corner.
    """
    reach = np.array([r.mean() for r in radii])
    far = np.array([r.max() for r in radii])
    places: list[np.ndarray | None] = [None] * len(radii)
    for k in np.argsort(-far, kind="stable"):  # the largest first: they find room least easily
        done = [j for j, p in enumerate(places) if p is not None and not over_edge[j]]
        others = np.array([places[j] for j in done]).reshape(-1, 2)
        if over_edge[k]:
            tries, wanted = _over_edge(rng, far[k], ground), APART
        elif done and rng.random() < touching:
            wanted = rng.uniform(OVERLAP + 0.02, 1.0)
            tries = _beside(rng, others, (wanted + 0.02) * (reach[done] + reach[k]), ground, 0.3 * reach[k])
        else:
            cut = 0.35 if rng.random() < 0.14 else 1.05
            tries, wanted = _inside(rng, cut * far[k], ground), APART
        tries = np.rint(tries)
        if not len(tries):
            continue
        gaps = np.ones(len(tries)) * np.inf
        if done:
            away = np.hypot(*(tries[:, None, :] - others[None]).transpose(2, 0, 1))  # (tries, others)
            gaps = (away / (reach[done] + reach[k])).min(1)
        gaps[_to_label(tries, ground) < far[k]] = 0.0
        good = np.flatnonzero(gaps >= wanted)
        best = good[0] if len(good) else gaps.argmax()
        if gaps[best] >= OVERLAP:
            places[k] = tries[best]
    return places


def _inside(rng: np.random.Generator, margin: float, ground: Ground) -> np.ndarray:
    width, height = ground.size
    margin = min(margin, 0.45 * width, 0.45 * height)
    return rng.uniform((margin, margin), (width - margin, height - margin), (2 * N_TRIES, 2))


def _beside(
    rng: np.random.Generator, others: np.ndarray, away: np.ndarray, ground: Ground, margin: float
) -> np.ndarray:
    partner = rng.integers(len(others), size=N_TRIES)
    turn = rng.uniform(0, 2 * np.pi, N_TRIES)
    tries = others[partner] + away[partner, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    inside = ((tries > margin) & (tries < np.array(ground.size) - margin)).all(1)
    return tries[inside]


def _over_edge(rng: np.random.Generator, far: float, ground: Ground) -> np.ndarray:
    """Middles outside the field, so that more than half of the cell is hidden."""
    width, height = ground.size
    tries = []
    for _ in range(N_TRIES):
        out, side = rng.uniform(0.15, 0.5) * far, int(rng.integers(4))
        along = rng.uniform(far, (height if side % 2 else width) - far)
        tries.append([(along, -out), (width + out, along), (along, height + out), (-out, along)][side])
    return np.array(tries)


def _to_label(places: np.ndarray, ground: Ground) -> np.ndarray:
    return np.hypot(np.maximum(places[:, 0] - ground.label_x, 0), np.maximum(places[:, 1] - ground.label_y, 0))

"""Figures of this study alone: the ablation, cells with their contours, a patient's smears in time."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.experiments.figures import LINES, as_svg, new_figure
from leukoscope.experiments.intervals import Estimate

EXPERT, PREDICTED = (17, 119, 51), (204, 34, 85)


def effects(rows: Mapping[str, Estimate], title: str = "", *, x_label: str) -> bytes:
    """A row an effect, with its limits, against the line of no effect."""
    figure, axes = new_figure(title, height=1.0 + 0.42 * max(len(rows), 1))
    axes.axvline(0, color="#999999", lw=1)
    axes.grid(axis="y", visible=False)
    for place, effect in enumerate(rows.values()):
        low, high = (v if np.isfinite(v) else effect.value for v in (effect.low, effect.high))
        axes.plot([low, high], [place, place], color=LINES[0], lw=2)
        axes.plot([effect.value], [place], "o", color=LINES[0], ms=6)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel=x_label, ylim=(len(rows) - 0.5, -0.5))
    return as_svg(figure)


def trend(series: Mapping[str, Sequence[tuple[str, float, float, float]]], title: str = "") -> bytes:
    """Serial smears: {patient: [(smear, ratio, low, high), …]} in their order, all in [0, 1]."""
    figure, axes = new_figure(title)
    for number, (patient, smears) in enumerate(series.items()):
        x, ratio = np.arange(len(smears)), np.array([s[1] for s in smears])
        low, high = np.array([s[2] for s in smears]), np.array([s[3] for s in smears])
        off = np.abs(np.stack([ratio - low, high - ratio]))
        axes.errorbar(
            x + 0.04 * number, ratio, yerr=off, color=LINES[number % 8], marker="o", ms=3, lw=1.3, label=patient
        )
    axes.set(xlabel="Smear, in order", ylabel="Corrected ratio", ylim=(0, 1))
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none")
    return as_svg(figure)


def field_contours(
    pixels: np.ndarray, expert: Sequence[np.ndarray], predicted: Sequence[np.ndarray], *, width: int = 1000
) -> bytes:
    """JPEG of a part of a field with the expert's contours (green) and the predicted ones (red, dashed by dots)."""
    scale = width / pixels.shape[1]
    size = (width, round(pixels.shape[0] * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    for contour in expert:
        points = [(float(x), float(y)) for x, y in np.asarray(contour) * scale]
        draw.line([*points, points[0]], fill=EXPERT, width=3)
    for contour in predicted:
        points = np.asarray(contour) * scale
        for a, b in zip(points, np.roll(points, -1, 0), strict=True):
            n = max(1, int(np.hypot(*(b - a)) // 7))
            for t in np.arange(n) / n:
                x, y = a + t * (b - a)
                draw.ellipse((x - 1.6, y - 1.6, x + 1.6, y + 1.6), fill=PREDICTED)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()

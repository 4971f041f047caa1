"""A study's figures: each function gives the bytes of one SVG, or of one JPEG where it shows cells.

Drawn narrow (4.6 inches) with type of 9 points, so that they are still read at the width of a telephone. Colours are
the report's (`report.colors`): they stay apart for the common colour-blindnesses, and lines differ in dashes too.
Needs matplotlib, of the extra `study`.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leukoscope.errors import InputError
from leukoscope.report.colors import class_colors
from leukoscope.report.words import class_words

WIDTH, HEIGHT = 4.6, 3.5  # inches
_SETTINGS = {
    "font.size": 9, "axes.titlesize": 9.5, "legend.fontsize": 7.5, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "svg.fonttype": "path", "svg.hashsalt": "leukoscope", "axes.axisbelow": True,
}  # fmt: skip
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
LINES = ("#33558b", "#cc2255", "#117733", "#ee8833", "#882255", "#44aaaa", "#999933", "#332288")


def pr_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]], title: str = "") -> bytes:
    """Precision against recall at IoU 0.5 by class: {class: (recall, precision, AP)} (the paper's Figures 2 and 8)."""
    figure, axes = new_figure(title)
    for number, (name, (recall, precision, ap)) in enumerate(curves.items()):
        color = class_colors(tuple(curves))[number]
        axes.plot(recall, precision, color=color, ls=_DASHES[number % 4], lw=1.6, label=f"{class_words(name)} {ap:.3f}")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="Recall", ylabel="Precision")
    _legend(axes, "AP50")
    return as_svg(figure)


def training_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], title="") -> bytes:
    """One small panel a quantity: {"loss": {"train": (epochs, values), "val": …}, …} (the paper's Figures 7 and 9)."""
    figure, grid = new_figure(title, columns=max(len(panels), 1), width=max(WIDTH, 2.6 * len(panels)), height=2.5)
    for axes, (quantity, series) in zip(np.atleast_1d(grid).ravel(), panels.items(), strict=False):
        for number, (name, (x, y)) in enumerate(series.items()):
            style = {"marker": "o", "ms": 2.5} if len(x) < 25 else {}
            axes.plot(x, y, color=LINES[number % 8], ls=_DASHES[number % 4], lw=1.4, label=name, **style)
        axes.set_title(quantity)
        axes.set_xlabel("Epoch")
        if len(series) > 1:
            axes.legend(frameon=True, framealpha=0.7, edgecolor="none", fontsize=6.5)
        axes.margins(x=0.08)
    figure.subplots_adjust(wspace=0.32)
    return as_svg(figure)


def confusion(matrix: np.ndarray, labels: Sequence[str], title: str = "", columns: Sequence[str] = ()) -> bytes:
    """Confusion matrix, rows truth, coloured by the share of the row, numbers as counts (Figures 3 and 10).

    matrix (R, C); labels of the rows; columns: labels of the columns where they differ ("missed" and the like)
    """
    matrix, columns = np.asarray(matrix), columns or labels
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    width, height = max(3.4, 1.3 + 0.4 * len(columns)), max(1.7, 1.1 + 0.33 * len(labels))
    figure, axes = new_figure(title, width=width, height=height)
    axes.grid(False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for r, c in np.argwhere(matrix > 0):
        ink = "white" if share[r, c] > 0.55 else "#18212b"
        axes.text(c, r, f"{matrix[r, c]:,}", ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(range(len(columns)), [class_words(c) for c in columns], rotation=45, ha="right", fontsize=9.5)
    axes.set_yticks(range(len(labels)), [class_words(n) for n in labels], fontsize=9.5)
    axes.set(xlabel="Called", ylabel="Truth")
    return as_svg(figure)


def class_distribution(counts: Mapping[str, Mapping[str, int]], title: str = "") -> bytes:
    """Cells by class, a bar for each part: {class: {"Train/Val": n, "Test": n}} (the paper's Figure 6)."""
    names, parts = list(counts), list(dict.fromkeys(p for of in counts.values() for p in of))
    figure, axes = new_figure(title, height=max(2.2, 0.34 * len(names) * max(len(parts), 1) / 1.6 + 0.9))
    axes.grid(axis="y", visible=False)
    thick = 0.8 / max(len(parts), 1)
    place = np.arange(len(names))
    most = max((counts[n].get(p, 0) for n in names for p in parts), default=1)
    for number, part in enumerate(parts):
        values = [counts[n].get(part, 0) for n in names]
        left = place + (number - (len(parts) - 1) / 2) * thick
        axes.barh(left, values, height=thick * 0.92, color=LINES[number % 8], label=part)
        for y, value in zip(left, values, strict=True):
            axes.text(value + 0.01 * most, y, f"{value:,}", va="center", fontsize=7)
    axes.set_yticks(place, [class_words(n) for n in names])
    axes.set(xlabel="Cells", xlim=(0, most * 1.14))
    axes.invert_yaxis()
    if len(parts) > 1:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts))
    return as_svg(figure)


def roc(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]], title: str = "") -> bytes:
    """ROC curves: {name: (false positive rate, true positive rate, area)}."""
    figure, axes = new_figure(title)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
    for number, (name, (x, y, area)) in enumerate(curves.items()):
        axes.plot(x, y, color=LINES[number % 8], ls=_DASHES[number % 4], lw=1.6, label=f"{name} {area:.3f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel="1 - specificity", ylabel="Sensitivity")
    _legend(axes, "Area")
    return as_svg(figure)


def reliability_diagram(systems: Mapping[str, Sequence[Mapping]], title: str = "") -> bytes:
    """Accuracy against confidence by bin: {name: rows of `calibration.reliability`}; a point's area is its cells."""
    figure, axes = new_figure(title)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
    for number, (name, rows) in enumerate(systems.items()):
        n = np.array([r["n"] for r in rows], float)
        x, y = [r["confidence"] for r in rows], [r["accuracy"] for r in rows]
        color = LINES[number % 8]
        axes.plot(x, y, color=color, ls=_DASHES[number % 4], lw=1.2, label=name)
        axes.scatter(x, y, s=8 + 70 * n / max(n.max(initial=1), 1), color=color, alpha=0.75)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel="Confidence", ylabel="Accuracy")
    _legend(axes)
    return as_svg(figure)


def lines(
    series: Mapping[str, tuple], title: str = "", *, x_label: str, y_label: str, y_range: tuple | None = None
) -> bytes:
    """Curves with bands: {name: (x, y) or (x, y, low, high)}; used for selective accuracy and for learning curves."""
    figure, axes = new_figure(title)
    for number, (name, (x, y, *limits)) in enumerate(series.items()):
        color = LINES[number % 8]
        style = {"marker": "o", "ms": 3} if len(x) < 25 else {}
        axes.plot(x, y, color=color, ls=_DASHES[number % 4], lw=1.5, label=name, **style)
        if limits:
            axes.fill_between(x, limits[0], limits[1], color=color, alpha=0.15, lw=0)
    axes.set(xlabel=x_label, ylabel=y_label)
    if y_range:
        axes.set_ylim(*y_range)
    _legend(axes)
    return as_svg(figure)


def scatter_agreement(x: np.ndarray, y: np.ndarray, title: str = "", *, x_label: str, y_label: str, line=None) -> bytes:
    """Two measurements of the same patients, both shares in [0, 1], with the line of identity and, where given,
    line = (slope, intercept)."""
    figure, axes = new_figure(title)
    most = float(max(np.max(x, initial=0.01), np.max(y, initial=0.01))) * 1.05
    axes.plot([0, most], [0, most], color="#bbbbbb", lw=1, label="identity")
    if line is not None:
        axes.plot([0, most], [line[1], line[0] * most + line[1]], color=LINES[1], lw=1.3, ls=_DASHES[1], label="fitted")
    axes.scatter(x, y, s=14, color=LINES[0], alpha=0.8)
    axes.set(xlim=(0, most), ylim=(0, most), xlabel=x_label, ylabel=y_label)
    _legend(axes)
    return as_svg(figure)


def bland_altman(mean: np.ndarray, difference: np.ndarray, bias: float, limits: tuple, title: str = "") -> bytes:
    """Difference against mean of two measurements, with the bias and the limits of agreement (low, high)."""
    figure, axes = new_figure(title)
    axes.scatter(mean, difference, s=14, color=LINES[0], alpha=0.8)
    for value, style, name in ((bias, "-", "bias"), (limits[0], "--", "limits"), (limits[1], "--", None)):
        axes.axhline(value, color=LINES[1], ls=style, lw=1.2, label=name and f"{name} {value:+.3f}")
    axes.set(xlabel="Mean of the two", ylabel="Difference")
    _legend(axes)
    return as_svg(figure)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[np.ndarray], Sequence[np.ndarray]]], left: str, right: str, *, cell_px: int = 112
) -> bytes:
    """The cross-domain sheet (the paper's Figure 4) as JPEG: a row a class, crops of one set left, the other right.

    rows  (class, crops of the left set, crops of the right set): (S, S, 3) uint8; missing ones stay grey
    """
    n_left = max((len(a) for _, a, _ in rows), default=1)
    n_right = max((len(b) for _, _, b in rows), default=1)
    label, gap, head = 132, 18, 34
    width = label + (n_left + n_right) * (cell_px + 4) + gap
    sheet = Image.new("RGB", (width, head + max(len(rows), 1) * (cell_px + 4)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    starts = (label, label + n_left * (cell_px + 4) + gap)
    for x, name in zip(starts, (left, right), strict=True):
        draw.text((x, 8), name, fill="#18212b", font=font)
    for r, (name, *sides) in enumerate(rows):
        y = head + r * (cell_px + 4)
        draw.text((6, y + cell_px / 2 - 10), _wrapped(class_words(name)), fill="#18212b", font=font)
        for start, crops, n in zip(starts, sides, (n_left, n_right), strict=True):
            for c in range(n):
                corner = (start + c * (cell_px + 4), y)
                if c < len(crops):
                    sheet.paste(Image.fromarray(crops[c]).resize((cell_px, cell_px), Image.Resampling.BILINEAR), corner)
                else:
                    draw.rectangle((*corner, corner[0] + cell_px - 1, corner[1] + cell_px - 1), fill="#eeeeee")
    return _jpeg(sheet)


def error_gallery(crops: Sequence[np.ndarray], captions: Sequence[str], *, columns: int = 6, cell_px=150) -> bytes:
    """Cells with a caption of up to three short lines each, as JPEG: what a system got wrong."""
    text, font = 58, ImageFont.load_default(size=14)
    n_rows = -(-max(len(crops), 1) // columns)
    sheet = Image.new("RGB", (columns * (cell_px + 10) + 10, n_rows * (cell_px + text) + 10), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (crop, caption) in enumerate(zip(crops, captions, strict=True)):
        x, y = 10 + number % columns * (cell_px + 10), 10 + number // columns * (cell_px + text)
        sheet.paste(Image.fromarray(crop).resize((cell_px, cell_px), Image.Resampling.BILINEAR), (x, y))
        draw.text((x, y + cell_px + 3), caption, fill="#18212b", font=font)
    return _jpeg(sheet)


def _wrapped(text: str) -> str:
    return text if len(text) < 14 else text.replace(" ", "\n", 1)


def new_figure(title: str, *, columns: int = 1, width: float = WIDTH, height: float = HEIGHT):
    """A figure and its axes, without pyplot: nothing global is kept open."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a study's figures need matplotlib: pip install 'leukoscope[study]'") from None
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(1, columns)
        if title:
            figure.suptitle(title, fontsize=10)
    return figure, axes


def _legend(axes, title: str = "") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=True, framealpha=0.85, edgecolor="none", title=title or None, title_fontsize=7.5)


def as_svg(figure) -> bytes:
    """The figure as SVG, the same bytes whenever it is drawn."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.06)
    return out.getvalue()


def _jpeg(sheet: Image.Image) -> bytes:
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=86)
    return out.getvalue()

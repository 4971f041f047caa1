"""Seconds that readers spend on a patient, which laboratories choose by: how they are spread, beside published ones."""

from collections.abc import Sequence

BIN_S, N_BINS = 30, 16  # the last bin holds all that is longer
# Seconds a patient in the published comparison that issue "The reading room" names: by microscope, on a screen.
PUBLISHED = (("at a microscope", 191), ("on screen", 326))
_WIDE, _HIGH, _FOOT = 640, 150, 34
_TOP = 34


def spread(seconds: Sequence[float]) -> dict | None:
    """Of sorted seconds: n, quartiles, bins of BIN_S, and how many were read in less than each published time."""
    if not seconds:
        return None
    bins = [0] * N_BINS
    for s in seconds:
        bins[min(N_BINS - 1, int(s // BIN_S))] += 1
    quartiles = [seconds[min(len(seconds) - 1, int(q * len(seconds)))] for q in (0.25, 0.5, 0.75)]
    faster = [{"what": what, "seconds": limit, "n": sum(s < limit for s in seconds)} for what, limit in PUBLISHED]
    return {"n": len(seconds), "quartiles": quartiles, "bins": bins, "faster": faster}


def times_chart(times: dict) -> str:
    """The spread as SVG: a bar a bin, lines where others' times lie. Numbers only: nothing in it is anybody's text."""
    step, most = _WIDE / N_BINS, max(times["bins"])
    parts = []
    for n, count in enumerate(times["bins"]):
        high = (_HIGH - _TOP) * count / most
        words = f"{n * BIN_S} s and more" if n == N_BINS - 1 else f"{n * BIN_S} to {(n + 1) * BIN_S} s"
        parts.append(
            f'<rect class="timebar" x="{n * step + 2:.1f}" y="{_HIGH - high:.1f}" width="{step - 4:.1f}"'
            f' height="{high:.1f}"><title>{words}: {count}</title></rect>'
        )
    for place, (what, limit) in enumerate(PUBLISHED):
        x = limit / BIN_S * step
        parts.append(f'<line class="timeline" x1="{x:.1f}" x2="{x:.1f}" y1="{12 + 2 * place}" y2="{_HIGH}"/>')
        parts.append(f'<text class="timetext" x="{x + 5:.1f}" y="20">{limit} s {what}</text>')
    for n in range(0, N_BINS, 2):
        parts.append(f'<text class="timetext" x="{n * step:.1f}" y="{_HIGH + 20}">{n * BIN_S}</text>')
    parts.append(f'<line class="timeaxis" x1="0" x2="{_WIDE}" y1="{_HIGH}" y2="{_HIGH}"/>')
    counts = ", ".join(str(n) for n in times["bins"])
    label = f"Signed patients by seconds of active reading, in steps of {BIN_S} s from 0: {counts}"
    return (
        f'<svg class="times" viewBox="-4 0 {_WIDE + 8} {_HIGH + _FOOT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )

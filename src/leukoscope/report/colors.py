"""Class colours that stay apart for the common colour-blindnesses; a label always stands beside the colour.

The colours stand in `taxonomy/classes.toml`, after Paul Tol's "muted" and "bright" qualitative schemes (technical note
SRON/EPS/TN/09-002), grouped by lineage: neutrophils and their precursors blue to cyan, lymphoid green, blasts red to
magenta, artefacts grey. Each has a lighter twin for dark pages, of the same hue.
"""

import colorsys

from leukoscope.taxonomy.vocabulary import CLASSES

_COLORS = {name: c.colour for name, c in CLASSES.items() if c.colour is not None}
LEAST_LIGHT = 0.62  # of a colour on the dark cards, so that bars and boxes stand out there
_SPARE = ("#aa4499", "#ddcc77", "#44aa99", "#cc6677", "#6699cc", "#999933", "#882255", "#332288")


def class_colors(names: tuple[str, ...]) -> tuple[str, ...]:
    """One "#rrggbb" a class, in order; classes without a colour of their own take the spare ones in turn."""
    spare = iter(_SPARE * (len(names) // len(_SPARE) + 1))
    return tuple(_COLORS[name] if name in _COLORS else next(spare) for name in names)


def on_dark(color: str) -> str:
    """The twin of "#rrggbb" for dark pages: the same hue and saturation, at least as light as 62 %."""
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    channels = colorsys.hls_to_rgb(hue, max(light, LEAST_LIGHT), min(saturation, 0.75))
    return "#" + "".join(f"{round(255 * c):02x}" for c in channels)


def class_style(names: tuple[str, ...]) -> str:
    """CSS that gives elements of class k0, k1, … the colour of the first, second, … class as `--k`, light and dark."""
    colors = class_colors(names)
    light = "".join(f".k{n} {{ --k: {color}; }}" for n, color in enumerate(colors))
    dark = "".join(f".k{n} {{ --k: {on_dark(color)}; }}" for n, color in enumerate(colors))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}" if names else ""

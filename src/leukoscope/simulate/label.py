"""The word RENDERED, burnt into every picture: no drawing must ever pass for a photograph.

The letters are drawn here, dot by dot, so that no font of the machine changes a byte.
"""

import numpy as np

_LETTERS = {
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "N": ("#...#", "##..#", "#.#.#", "#.#.#", "#..##", "#...#", "#...#"),
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
}
_WORD, _DOT, _MARGIN = "RENDERED", 2, 6
LABEL_BOX = (0, 0, 2 * _MARGIN + 6 * _DOT * len(_WORD), 2 * _MARGIN + 7 * _DOT)  # x0, y0, x1, y1 px


def burn_label(pixels: np.ndarray) -> np.ndarray:
    """A copy of (H, W, 3) uint8 with a pale strip in the upper left corner that says RENDERED."""
    rows = [".".join(_LETTERS[letter][r] for letter in _WORD) + "." for r in range(7)]
    ink = np.array([[dot == "#" for dot in row] for row in rows]).repeat(_DOT, 0).repeat(_DOT, 1)
    x1, y1 = LABEL_BOX[2:]
    labelled = pixels.copy()
    labelled[:y1, :x1] = 236
    corner = labelled[_MARGIN : _MARGIN + ink.shape[0], _MARGIN : _MARGIN + ink.shape[1]]
    corner[ink] = 90
    return labelled

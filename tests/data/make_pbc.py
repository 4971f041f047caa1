"""A set in the layout of `pbc`: YOLO with coarse classes, the fine class in the file's name, splits as folders.

Traps: one picture copied into another split under another name, one picture without a label file, one label
without a picture, one empty label file, one malformed line.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from data.make_pictures import draw_field

CLASSES = ("BA", "EO", "ERB", "IG", "LY", "MO", "NEU")
PREFIXES = {
    "BA": 0,
    "EO": 1,
    "ERB": 2,
    "LY": 4,
    "MO": 5,
    "BNE": 6,
    "SNE": 6,
    "PMY": 3,
    "MY": 3,
    "MMY": 3,
    "IG": 3,
    "NEUTROPHIL": 6,
}
SIZE = (36, 30)


def make_pbc(root: Path) -> Path:
    """Write the set under `root`: 12 kinds x 3 splits, the copy, and the traps."""
    root.mkdir(parents=True, exist_ok=True)
    names = ", ".join(CLASSES)
    (root / "data.yaml").write_text(
        f"path: .\ntrain: train/images\nval: val/images\ntest: test/images\nnc: {len(CLASSES)}\nnames: [{names}]\n"
    )
    for s, split in enumerate(("train", "val", "test")):
        for k, (prefix, class_id) in enumerate(PREFIXES.items()):
            name = f"{prefix}_{1000 * s + k}"
            draw_field(root / split / "images" / f"{name}.jpg", SIZE, [(18, 15, 8)], seed=100 * s + k)
            _label(root / split / "labels" / f"{name}.txt", f"{class_id} 0.500000 0.500000 0.444444 0.533333\n")
    shutil.copy(root / "train/images/BA_0.jpg", root / "test/images/BA_999.jpg")
    _label(root / "test/labels/BA_999.txt", "0 0.500000 0.500000 0.444444 0.533333\r\n")
    draw_field(root / "train/images/LY_777.jpg", SIZE, [(18, 15, 8)], seed=777)  # no label file
    _label(root / "train/labels/MO_888.txt", "5 0.5 0.5 0.4 0.5\n")  # no picture
    draw_field(root / "train/images/EO_555.jpg", SIZE, [], seed=555)
    _label(root / "train/labels/EO_555.txt", "")
    draw_field(root / "val/images/MY_444.jpg", SIZE, [(18, 15, 8)], seed=444)
    _label(root / "val/labels/MY_444.txt", "3 0.5 0.5 0.4 0.5\n3 0.5 nothing\n")
    return root


def _label(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())

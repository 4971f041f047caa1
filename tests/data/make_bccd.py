"""A set in the layout of BCCD: VOC files, ImageSets, masks, and a table that types pictures.

Traps: a box without area, a box over the edge, swapped corners, a box given twice, a Windows path in <filename>, a
byte order mark in the table, two white cells in a picture, two types for one white cell, a blank type, a type without
a box, an annotation without a picture, a picture without an annotation, a mask without a picture.
"""

from __future__ import annotations

from pathlib import Path

from data.make_pictures import draw_field, draw_mask

SIZE = (64, 48)
WHITE = ("WBC", 20, 10, 44, 34)
RED = ("RBC", 2, 2, 14, 14)
# number: (boxes, type in the table)
PICTURES: dict[int, tuple[list[tuple], str]] = {
    0: ([WHITE, RED], "NEUTROPHIL"),
    1: ([WHITE, RED, ("Platelets", 50, 40, 54, 44)], "EOSINOPHIL"),
    2: ([WHITE, ("WBC", 2, 20, 18, 36)], "NEUTROPHIL, LYMPHOCYTE"),
    3: ([WHITE, ("RBC", 30, 30, 30, 30)], ""),
    4: ([WHITE], "NEUTROPHIL,EOSINOPHIL"),
    5: ([RED], "BASOPHIL"),
    6: ([WHITE, ("RBC", 50, 36, 70, 47), ("RBC", 14, 44, -3, 38), RED, RED], "MONOCYTE"),
}


def make_bccd(root: Path) -> Path:
    """Write the set under `root`."""
    rows = []
    for number, (boxes, kind) in PICTURES.items():
        stem = f"BloodImage_{number:05d}"
        discs = [((b[1] + b[3]) / 2, (b[2] + b[4]) / 2, abs(b[3] - b[1]) / 2) for b in boxes]
        draw_field(root / "JPEGImages" / f"{stem}.jpg", SIZE, discs, seed=number)
        filename = f"C:\\data\\JPEGImages\\{stem}.jpg" if number == 1 else f"{stem}.jpg"
        _write(root / "Annotations" / f"{stem}.xml", annotation(filename, boxes))
        rows.append(f',{number},"{kind}"' if "," in kind else f",{number},{kind}")
    draw_mask(root / "masks" / "BloodImage_Mask_00099.png", SIZE, (30, 20, 10))
    draw_field(root / "JPEGImages" / "BloodImage_00050.jpg", SIZE, [], seed=50)  # no annotation
    _write(root / "Annotations" / "BloodImage_00060.xml", annotation("BloodImage_00060.jpg", [WHITE]))  # no picture
    table = "\r\n".join([",Image,Category", *rows, ",60,NEUTROPHIL"]) + "\r\n"
    (root / "wbc_types.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    splits = {"train": (0, 1, 2), "val": (3, 4), "test": (5, 6), "trainval": (0, 1, 2, 3, 4)}
    for split, numbers in splits.items():
        _write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"BloodImage_{n:05d}\n" for n in numbers))
    return root


def annotation(filename: str, boxes: list[tuple], *, size: tuple[int, int] = SIZE) -> str:
    """The text of one VOC file; boxes are (name, xmin, ymin, xmax, ymax)."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in boxes
    )
    return (
        f"<annotation><filename>{filename}</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{objects}</annotation>"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")

"""What both the demo and the cohorts write: pictures that say what they are, the manifest, the table of patients."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.files import write_bytes, write_whole
from leukoscope.simulate.field import Placed
from leukoscope.simulate.look import Look
from leukoscope.types import FieldKey

NOTE = "Rendered by leukoscope simulate: drawings with known truth, not photographs of anybody's cells."
LICENCE = "Apache-2.0"


def write_picture(out: Path, file: str, pixels: np.ndarray, *, quality: int) -> str:
    """A JPEG whose comment is the note; returns its digest."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, comment=NOTE.encode())
    (out / file).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out / file, buffer.getvalue(), sync=False)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def write_mask(out: Path, picture: str, look: Look, cells: list[Placed]) -> None:
    """masks/NAME.png beside a picture: 0 background, 140 cytoplasm, 255 nucleus; upper cells over lower ones."""
    mask = Image.new("L", (look.width, look.height))
    draw = ImageDraw.Draw(mask)
    for cell in cells:
        for contour, grey in ((cell.contour, 140), *((part, 255) for part in cell.nuclei)):
            if len(contour) >= 3:
                # Pillow counts from pixel middles, contours from corners.
                draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in contour], fill=grey)
    path = out / "masks" / f"{Path(picture).stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path, "wb", sync=False) as file:
        mask.save(file, "PNG")


def truth_field(
    key: FieldKey, file: str, sha256: str, look: Look, cells: list[tuple[str, Placed]], *, split: str | None = None
) -> TruthField:
    """The manifest's entry; cells are (class name, cell)."""
    truth = []
    for class_name, cell in cells:
        contour = cell.contour.round(2)
        box = (*contour.min(0).tolist(), *contour.max(0).tolist())
        truth.append(TruthCell(box, class_name, class_name, tuple(map(tuple, contour.tolist()))))
    return TruthField(
        key=key,
        file=file,
        sha256=sha256,
        width=look.width,
        height=look.height,
        cells=tuple(truth),
        um_per_px=look.um_per_px,
        split=split,
    )


def write_manifest(out: Path, name: str, fields: list[TruthField]) -> None:
    """dataset.json and fields.jsonl, licensed and cited as what they are."""
    dataset = Dataset(
        name=name, image_root=out, fields=tuple(fields), licence=LICENCE, citation=NOTE, source_format="simulate"
    )
    write_dataset(dataset, out)

"""Files that are parts of one slide are one slide: a DICOM series, the tiles beside a .dzi, the pictures of a .vms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from leukoscope.images.slides.names import is_dicom


def one_a_slide(files: Sequence[Path]) -> list[Path]:
    """The files without those that are parts of a slide which another file in the list stands for; order kept.

    A DICOM series is called by its first file; its label and overview are left out where its pyramid is there.
    """
    dropped = _of_other_files(files) | _of_series(files)
    return [f for f in files if f not in dropped] if dropped else list(files)


def _of_series(files: Sequence[Path]) -> set[Path]:
    dicom = [f for f in files if is_dicom(f)] if find_spec("pydicom") else []
    if len(dicom) < 2:
        return set()
    from leukoscope.images.slides.dicom_reader import WSM, is_beside, try_head

    first: dict[tuple, Path] = {}
    beside: list[tuple[Path, Path]] = []
    dropped = set()
    for file in dicom:
        head = try_head(file)
        if head.get("SOPClassUID") != WSM:
            continue
        if is_beside(head):
            beside.append((file, file.parent))
        elif first.setdefault((file.parent, head["SeriesInstanceUID"]), file) != file:
            dropped.add(file)
    with_pyramid = {folder for folder, _ in first}
    return dropped | {file for file, folder in beside if folder in with_pyramid}


def _of_other_files(files: Sequence[Path]) -> set[Path]:
    """Tiles of a deep zoom picture (NAME.dzi, NAME_files/), and the pictures that a .vms or .vmu names."""
    tiles = {f.parent / f"{f.stem}_files" for f in files if f.suffix.lower() == ".dzi"}
    dropped = {f for f in files if tiles and not tiles.isdisjoint(f.parents)}
    for slide in (f for f in files if f.suffix.lower() in (".vms", ".vmu")):
        dropped |= set(named_files(slide))
    return dropped


def named_files(slide: Path) -> list[Path]:
    """The files that a .vms or .vmu names as parts of itself."""
    try:
        text = slide.read_text("latin-1")[:100_000]
    except OSError:
        return []
    return [slide.parent / name.strip() for name in re.findall(r"^\w*File\w*(?:\([\d,]+\))?=(.+)$", text, re.M)]

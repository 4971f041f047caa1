"""Files that are parts of one slide are one slide: a DICOM series, the tiles beside a .dzi, the pictures of a .vms."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TypeVar

from leukoscope.images.slides.names import is_dicom
from leukoscope.stores import StoreError, read_start

File = TypeVar("File", Path, str)  # str: an address in a store
_MOST_TEXT = 100_000  # bytes of a .vms


def one_a_slide(files: Sequence[File]) -> list[File]:
    """The files, or addresses, without those that are parts of a slide which another one in the list stands for; order
    kept.

    A DICOM series is called by its first file; its label and overview are left out where its pyramid is there.
    """
    dropped = _of_other_files(files) | _of_series(files)
    return [f for f in files if f not in dropped] if dropped else list(files)


def _of_series(files: Sequence[File]) -> set[File]:
    dicom = [f for f in files if is_dicom(f)] if find_spec("pydicom") else []
    if len(dicom) < 2:
        return set()
    from leukoscope.images.slides.dicom_reader import WSM, is_beside, try_head

    first: dict[tuple, File] = {}
    beside: list[tuple[File, PurePath]] = []
    dropped = set()
    for file in dicom:
        head, folder = try_head(file), PurePath(file).parent
        if head.get("SOPClassUID") != WSM:
            continue
        if is_beside(head):
            beside.append((file, folder))
        elif first.setdefault((folder, head["SeriesInstanceUID"]), file) != file:
            dropped.add(file)
    with_pyramid = {folder for folder, _ in first}
    return dropped | {file for file, folder in beside if folder in with_pyramid}


def _of_other_files(files: Sequence[File]) -> set[File]:
    """Tiles of a deep zoom picture (NAME.dzi, NAME_files/), and the pictures that a .vms or .vmu names."""
    places = {f: PurePath(f) for f in files}
    tiles = {p.parent / f"{p.stem}_files" for p in places.values() if p.suffix.lower() == ".dzi"}
    dropped = {f for f, p in places.items() if tiles and not tiles.isdisjoint(p.parents)}
    for slide in (f for f, p in places.items() if p.suffix.lower() in (".vms", ".vmu")):
        dropped |= set(named_files(slide))
    return dropped


def named_files(slide: File) -> list[File]:
    """The files that a .vms or .vmu names as parts of itself."""
    try:
        if isinstance(slide, Path):
            data = slide.read_bytes()[:_MOST_TEXT]
        else:
            data = read_start(slide, _MOST_TEXT)
    except (OSError, StoreError):
        return []
    names = [n.strip() for n in re.findall(r"^\w*File\w*(?:\([\d,]+\))?=(.+)$", data.decode("latin-1"), re.M)]
    if isinstance(slide, Path):
        return [slide.parent / name for name in names]
    return [f"{slide.rpartition('/')[0]}/{name}" for name in names]

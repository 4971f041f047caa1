"""Where a record's photographs are now: known by their digests, never guessed."""

from pathlib import Path

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.exchange.source import Photograph
from leukoscope.images import file_sha256, read_image
from leukoscope.stores import is_address

NOT_FOUND = "photographs that are not where the record has them were left out: name their folder with --photographs"
UNREAD = "photographs that could not be read were left out"


def find_photograph(photograph: Photograph, record: Path, folder: Path | None) -> Path | str | None:
    """The file (or address in a store) with the photograph's digest: as named, beside the record, or in `folder`; None
    where there is none."""
    if photograph.sha256 is None:
        return None
    named = Path(photograph.path)
    if is_address(photograph.path):
        places: list[Path | str] = [photograph.path]
    else:
        places = [named] if named.is_absolute() else [named, record.parent / named, record.parent.parent / named]
    places += [] if folder is None else [folder / named.name, folder / named.relative_to(named.anchor)]
    return next((place for place in places if file_sha256(place) == photograph.sha256), None)


def pixels_of(photograph: Photograph, record: Path, folder: Path | None) -> tuple[Path | str, np.ndarray] | str:
    """(file, (H, W, 3) uint8 RGB as it was analysed), or why there is none, in words."""
    path = find_photograph(photograph, record, folder)
    if path is None:
        return NOT_FOUND
    try:
        pixels = read_image(path, page=photograph.page or 0)
    except ImageError:
        return UNREAD
    return (path, pixels) if pixels.shape[:2] == (photograph.height, photograph.width) else UNREAD

"""Find the photographs that a user's paths mean."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from leukoscope.errors import InputError

# Also suffixes of formats that are not read: such a file must be in the report with its reason, not left out.
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .tif .tiff .gif .webp .heic .heif .avif .jp2 .j2k .svs .ndpi .scn .mrxs "
    ".dcm .czi".split()
)


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files that `paths` name, sorted, each once: a file as it is, a folder's image files at any depth.

    In folders, hidden files and folders and files without an image suffix are left out; links to folders are not
    followed. InputError when a path does not exist or nothing is found.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found = set()
    for path in map(Path, paths):
        if path.is_dir():
            found.update(_images_under(path))
        elif path.exists():
            found.add(path)
        else:
            raise InputError(f"no file or folder {str(path)!r}: expected photographs or folders of photographs")
    if not found:
        named = ", ".join(map(str, paths)) or "nothing"
        raise InputError(f"no images found in {named}: expected files such as .jpg, .png, .bmp or .tif")
    return sorted(found)


def _images_under(folder: Path) -> Iterable[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield Path(here, name)

"""Find the photographs that a user's paths mean, and everything among them that could not be looked into."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from leukoscope.errors import ImageError, InputError
from leukoscope.images.container import is_surely_image
from leukoscope.images.slides.names import KNOWN_SUFFIXES
from leukoscope.images.stored import read_head

# Also suffixes of formats that are not read: such a file must be in the report with its reason, not left out.
IMAGE_SUFFIXES = (
    frozenset(
        ".jpg .jpeg .jpe .jfif .mpo .png .bmp .dib .tif .tiff .btf .gif .webp .heic .heif .hif .avif "
        ".jp2 .j2k .jpx .jpf .j2c .jpc".split()
    )
    | KNOWN_SUFFIXES
)
# A folder with these files is a report of an earlier run, and its folders hold pictures of photographs, no photographs.
_OF_A_REPORT, _PICTURES_OF_A_REPORT = frozenset(("record.json", "report.html")), ("fields", "patients")
_MOST_LINKS = 3  # linked folders within linked folders


def list_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files that `paths` name, sorted, each once: a file as it is, a folder's images at any depth.

    In folders a file is an image by its suffix or, whatever its suffix, by its first bytes; hidden files and folders
    are left out, and so are the pictures of a report that `analyze` wrote there; links to folders are followed, not in
    circles. A folder that may not be looked into is in the list
    itself: reading it says why. InputError when a path does not exist or nothing is found.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    images: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            images.update(_images_under(path, (os.path.realpath(path),), 0))
        elif os.path.lexists(path):
            images.add(path)
        else:
            raise InputError(f"no file or folder {str(path)!r}: expected photographs or folders of photographs")
    if not images:
        named = ", ".join(map(str, paths)) or "nothing"
        raise InputError(f"no images found in {named}: expected files such as .jpg, .png, .bmp or .tif")
    return sorted(images)


def without_reports(names: list[str]) -> list[str]:
    """Names with "/" of all files below one place, those left out that are pictures of a report."""
    there = set(names)
    folders = [n.rpartition("/")[0] for n in names if n.endswith("/record.json")]
    reports = [f for f in folders if all(f"{f}/{name}" in there for name in _OF_A_REPORT)]
    pictures = tuple(f"{folder}/{name}/" for folder in reports for name in _PICTURES_OF_A_REPORT)
    return [n for n in names if not n.startswith(pictures)] if pictures else names


def _images_under(folder: Path, above: tuple[str, ...], n_links: int) -> Iterator[Path]:
    """`above`: the real paths of the folders that this one is in, itself included."""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        yield folder
        return
    is_report = {entry.name for entry in entries} >= _OF_A_REPORT
    for entry in entries:
        if entry.name.startswith(".") or (is_report and entry.name in _PICTURES_OF_A_REPORT):
            continue
        path = Path(folder, entry.name)
        if _is_folder(entry):
            real = os.path.realpath(path)
            links = n_links + entry.is_symlink()
            if real not in above and links <= _MOST_LINKS:
                yield from _images_under(path, (*above, real), links)
        elif _is_image(path):
            yield path


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        return is_surely_image(read_head(path))
    except ImageError as error:
        return error.reason == "no_permission" and not path.suffix  # a camera's file names may have none

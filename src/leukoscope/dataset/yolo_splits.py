"""Which split YOLO's files state for a picture: lists of pictures first, then the paths in data.yaml."""

import os
import posixpath
from collections import defaultdict
from pathlib import Path, PurePosixPath

from leukoscope.dataset.names import folded
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import SPLIT_NAMES, RawSet, split_of
from leukoscope.dataset.text import read_text
from leukoscope.dataset.yolo_names import ClassNames
from leukoscope.errors import DataError


def stated_splits(root: Path, index: ImageIndex, names: ClassNames | None, raw: RawSet) -> dict[str, str]:
    """{picture: split} from train.txt and the like (Ultralytics' autosplit_train.txt too), else from data.yaml.

    names  what the names files say; None: their paths are not asked, something better states the splits
    """
    splits = _listed(root, index, raw)
    if splits or names is None or all(map(split_of, index.files)):
        return splits
    return _from_paths(root, index, names, raw)


def _listed(root: Path, index: ImageIndex, raw: RawSet) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name, split in SPLIT_NAMES.items():
        for listing in (root / f"{name}.txt", root / f"autosplit_{name}.txt"):
            if listing.is_file():
                _take_list(listing, split, index, splits, raw)
    return splits


def _take_list(listing: Path, split: str, index: ImageIndex, splits: dict[str, str], raw: RawSet) -> None:
    absent = []
    for line in read_text(listing).splitlines():
        is_name = bool(Path(line.strip()).suffix) and " " not in line.strip().rpartition(".")[2]
        file = index.find(line) if is_name else None
        if is_name and file is None:
            absent.append(line.strip())
        if file and splits.setdefault(file, split) != split:
            raise DataError(f"{listing} lists {file}, which is in {splits[file]} too: expected one split a picture")
    if absent:
        raw.note(listing.name, "pictures listed for a split and not here", f"{len(absent)}, the first {absent[0][:80]}")


def _from_paths(root: Path, index: ImageIndex, names: ClassNames, raw: RawSet) -> dict[str, str]:
    """{picture: split} from the folders or lists that data.yaml names, for pictures whose own folders name no split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for folder, split, path in names.stated_splits():
        place = _place(root, folder, path, index)
        if place is None:
            raw.note(f"{folder}/data.yaml".lstrip("/"), f"the {split} path in data.yaml is not here", path[:120])
        elif place.endswith(".txt"):
            listed: dict[str, str] = {}
            _take_list(root / place, split, index, listed, raw)
            for file in listed:
                splits[file].add(split)
        else:
            for file in index.files:
                if not place or file.startswith(place + "/"):
                    splits[file].add(split)
    several = [f for f, stated in splits.items() if len(stated) > 1 and split_of(f) is None]
    if several:
        raw.note(several[0], "data.yaml puts a picture into several splits: none taken", f"{len(several)} pictures")
    return {f: next(iter(s)) for f, s in splits.items() if len(s) == 1 and split_of(f) is None}


def _place(root: Path, folder: str, path: str, index: ImageIndex) -> str | None:
    """The folder or list under `root` that a path of data.yaml means, wherever the set stood when it was written."""
    stated = path.replace("\\", "/")
    relative = posixpath.normpath(posixpath.join(folder, stated.lstrip("/")))
    if relative in (".", ""):
        return ""
    parts = [p for p in PurePosixPath(relative).parts if p != ".."]
    folders = {f.rpartition("/")[0] for f in index.files}
    folders |= {parent.as_posix() for f in folders for parent in PurePosixPath(f).parents if parent.as_posix() != "."}
    known = {folded(f): f for f in folders}
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        if folded(tail) in known:
            return known[folded(tail)]
        if tail.endswith(".txt") and os.path.isfile(root / tail):
            return tail
    return None

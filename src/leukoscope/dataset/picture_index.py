"""The pictures under a folder, and which of them a table or an annotation names: one rule for every format."""

import os
import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

from leukoscope.dataset.files import files_under
from leukoscope.dataset.names import folded, nfc
from leukoscope.dataset.raw import SPLIT_NAMES, RawSet, split_of
from leukoscope.errors import DataError, InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif")
# Folders that say how a set is laid out: they can't contradict another folder.
_LAYOUT = {
    "images", "image", "imgs", "img", "jpegimages", "photos", "photo", "photographs", "pictures", "picture", "pics",
    "labels", "label", "annotations", "annotation", "annots", "annot", "anns", "ann", "xml", "xmls", "json", "jsons",
    "geojson", "labelme", "bbox", "boxes", "gt", "truth", "data", "dataset", "default", "files", "media", "upload",
    "uploads", "unpacked", *SPLIT_NAMES,
}  # fmt: skip
_ABSOLUTE = re.compile(r"^(/|[a-zA-Z]:|[a-z0-9]+://)")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
_STORE = re.compile(r"^/?(data/)?upload/\d+/")  # where Label Studio keeps uploads: no folder of the picture's
_MANY = 8  # candidates of one name, above which they are looked up by their folder too


class ImageIndex:
    """The pictures under a folder, found by relative path, by file name or by stem, whatever the slashes."""

    def __init__(self, root: Path, files: list[str] | None = None, *, leave_out: tuple[str, ...] = ()) -> None:
        """files: the pictures, relative to root; None: all under root but in folders named in `leave_out`."""
        self.root = root
        self.files = _image_files(root, leave_out) if files is None else files
        self.exact = {nfc(f): f for f in self.files} | {f: f for f in self.files}
        self._layout = _LAYOUT | {folded(root.resolve().name)}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_tail: dict[str, list[str]] = defaultdict(list)
        self._by_upload: dict[str, list[str]] | None = None
        self._elsewhere: dict[str, str] = {}
        self._respelt: dict[str, str] = {}
        self._refused: dict[str, str] = {}  # folded spelling: the picture that its folders contradict
        for file in self.files:
            folder, _, name = folded(file).rpartition("/")
            stem = os.path.splitext(name)[0]
            for key in {name, stem}:
                self._by_name[key].append(file)
                self._by_tail[f"{folder.rpartition('/')[2]}/{key}"].append(file)

    def find(self, name: str) -> str | None:
        """The one picture a table or an annotation names; None where there is none, DataError where there are two.

        The stated folders choose between pictures of one name, and may not contradict the picture's own: `P1/001.png`
        is never `P2/001.png`. A name is also tried without a query, without URL escapes, and as Label Studio renames
        uploads. What was found elsewhere than stated is remembered for `note_elsewhere`.
        """
        files = self.named(name)
        if len(files) > 1:
            raise DataError(
                f"{name!r} could be any of {', '.join(files[:3])} under {self.root}: "
                f"expected one picture of that name; write the path relative to the folder"
            )
        return files[0] if files else None

    def named(self, name: str) -> list[str]:
        """Every picture that `find` would have to choose from."""
        if name in self.exact:
            return [self.exact[name]]
        stated = nfc(name.strip()).replace("\\", "/")
        spellings = _spellings(stated)
        for spelling in spellings:
            files = self.candidates(spelling)
            if files:
                if len(files) == 1:
                    self.remember(stated, spelling, files[0])
                return files
        uploaded = self._uploaded(stated, spellings)
        return [uploaded] if uploaded else []

    def candidates(self, stated: str) -> list[str]:
        """The pictures that a path, with forward slashes, may name: those whose folders agree with it for longest."""
        if stated in self.exact:
            return [self.exact[stated]]
        parts = _parts(stated)
        if not parts:
            return []
        stem, suffix = os.path.splitext(parts[-1])
        # The table says .bmp, the picture was saved as .png.
        for key in (parts[-1], stem) if suffix in IMAGE_SUFFIXES else (parts[-1],):
            files = self._by_name.get(key, [])
            if len(files) > _MANY and len(parts) > 1:
                files = self._by_tail.get(f"{parts[-2]}/{key}", files)
            agreeing = [f for f in files if not self._contradicts(stated, parts[:-1], f)]
            if files and not agreeing:
                self._refused[stated] = files[0]
            if agreeing:
                return _closest(agreeing, parts)
        return []

    def remember(self, stated: str, spelling: str, file: str) -> None:
        """Keep for `note_elsewhere` what was found under URL escapes, in another folder or under another suffix."""
        if "%" in stated and "%" not in spelling:
            self._respelt.setdefault(stated, file)
        plain = "/".join(_parts(spelling))
        if not _same_place(folded(file), plain, whole=bool(os.path.splitext(plain)[1])):
            self._elsewhere.setdefault(stated, file)

    def why_not(self, name: str) -> str:
        """Why `find` gave None, in words: nothing of that name, or only in a folder that the name contradicts."""
        if not self._refused:
            return ""
        stated = nfc(name.strip()).replace("\\", "/")
        refused = next((self._refused[s] for s in _spellings(stated) if s in self._refused), None)
        return f"stated as {stated[:120]}, but here only {refused}: another folder" if refused else ""

    def note_elsewhere(self, raw: RawSet) -> None:
        """List, on one line each, the pictures that were found elsewhere, or under another spelling, than stated."""
        for files, reason in (
            (self._elsewhere, "picture in another folder or of another suffix than stated"),
            (self._respelt, "picture's name spelled otherwise than stated (an upload, a URL)"),
        ):
            if files:
                stated, file = next(iter(files.items()))
                raw.note(file, reason, f"{len(files)} pictures, the first stated as {stated[:120]}")

    def _contradicts(self, stated: str, folders: list[str], file: str) -> bool:
        """Whether a stated path's folders say that it is not this picture."""
        above = folded(file).split("/")[:-1]
        split, own_split = split_of(stated.lower()), split_of(file)
        if split and own_split and split != own_split:
            return True
        # Of two absolute paths the first folders belong to two machines.
        absolute = bool(_ABSOLUTE.match(stated))
        one = [f for f in folders if f not in self._layout]
        other = [f for f in above if f not in self._layout]
        if not one or not other:
            return False
        if _is_part(other, one) or (_is_part(one, other) and not absolute):
            return False
        return not (absolute and one[-1] == other[-1])

    def _uploaded(self, stated: str, spellings: list[str]) -> str | None:
        """The one picture whose name an upload would have changed to the stated one, None where there is not just one:
        Label Studio writes 8 digits before it, spaces as _, and leaves out brackets and the like."""
        if self._by_upload is None:
            self._by_upload = defaultdict(list)
            for file in self.files:
                self._by_upload[_upload_key(file)].append(file)
        for spelling in spellings:
            files = self._by_upload.get(_upload_key(spelling), [])
            if files:
                folders = _parts(spelling)[:-1]
                files = [f for f in files if not self._contradicts(spelling, folders, f)]
            if len(files) == 1:
                self._respelt.setdefault(stated, files[0])
                return files[0]
        return None


def _parts(path: str) -> list[str]:
    """The folders and the name of a path, for comparing; steps up and down left out."""
    return [p for p in folded(path).split("/") if p not in ("", ".", "..")]


def _spellings(stated: str) -> list[str]:
    """The ways to read a stated name: as it stands, then without a query, URL escapes, an upload's eight digits."""
    spellings = [stated.split("?d=", 1)[1] if "?d=" in stated else stated]
    if "?" in spellings[0]:
        spellings.append(spellings[0].split("?", 1)[0])
    if "%" in spellings[0]:
        spellings += [nfc(unquote(s)).replace("\\", "/") for s in spellings]
    for spelling in tuple(spellings):
        folder, slash, name = spelling.rpartition("/")
        if _UPLOADED.match(name):
            spellings.append(folder + slash + _UPLOADED.sub("", name))
    if "upload/" in stated:
        spellings += [_STORE.sub("", s) for s in spellings if _STORE.match(s)]
    return list(dict.fromkeys(spellings))


def _upload_key(path: str) -> str:
    name = _UPLOADED.sub("", folded(path).rpartition("/")[2])
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _is_part(some: list[str], of: list[str]) -> bool:
    """Whether all of `some` stand in `of`, in that order."""
    rest = iter(of)
    return all(folder in rest for folder in some)


def _closest(files: list[str], parts: list[str]) -> list[str]:
    """Those of `found` whose path agrees with `parts` from its end for longest."""
    if len(files) < 2:
        return files
    agreement = {file: _agreement(folded(file).split("/")[:-1], parts[:-1]) for file in files}
    best = max(agreement.values())
    return [file for file in files if agreement[file] == best]


def _agreement(folders: list[str], stated: list[str]) -> int:
    n = 0
    while n < min(len(folders), len(stated)) and folders[-1 - n] == stated[-1 - n]:
        n += 1
    return n


def _same_place(file: str, stated: str, *, whole: bool) -> bool:
    """Whether one path ends in the other; not `whole`: the stated one has no suffix."""
    if not whole:
        file = os.path.splitext(file)[0]
    return f"/{file}".endswith(f"/{stated}") or f"/{stated}".endswith(f"/{file}")


def _image_files(root: Path, leave_out: tuple[str, ...]) -> list[str]:
    files = [f for f in files_under(root, IMAGE_SUFFIXES) if not set(f.split("/")) & set(leave_out)]
    if not files:
        raise InputError(
            f"no pictures under {root}: expected files ending in {', '.join(IMAGE_SUFFIXES)}; got none; "
            f"check the path, or unpack the archive first"
        )
    return files

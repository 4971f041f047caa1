"""The files under a folder, listed in one order."""

import os
from pathlib import Path

from leukoscope.errors import InputError


def files_under(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files under a folder with one of these suffixes, sorted, relative, forward slashes; nothing hidden."""
    files = []
    for here, folders, names in os.walk(root, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        place = os.path.relpath(here, root).replace(os.sep, "/")
        before = "" if place == "." else place + "/"
        if before.count("/") > 60:
            raise InputError(f"{root} has more than 60 folders in each other, or a link to itself: remove the link")
        files += [
            before + n for n in names if n.lower().endswith(suffixes) and n[0] != "." and os.path.isfile(f"{here}/{n}")
        ]
    # As paths sort: folder by folder, not by the slash's place among the characters.
    return sorted(files, key=lambda f: f.split("/"))

"""Going on with a run: are the photographs still those that it began with, and those that it has analysed?"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from leukoscope.errors import ImageError, InputError
from leukoscope.images import file_sha256
from leukoscope.images.slides.shelf import slide_digest
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.sources import Source
from leukoscope.stores import exists, is_address


def same_sources(begun: list[Source] | None, sources: list[Source], out: Path) -> list[Source]:
    """The photographs of the run if those `found` now are the same; InputError that names what differs.

    begun  those it began with; None: the list is lost, and the journal's digest of it has to do
    A photograph whose file is gone stays one of the run's: what was analysed stands, and what was not fails as missing.
    """
    if begun is None:
        return sources
    now, then = {s.file: s.key for s in sources}, {s.file: s.key for s in begun}  # a slide's regions are one file
    changes = (
        ("not in the run", [s.file for s in sources if s.file not in then]),
        ("not among the paths that were given", [f for f in then if f not in now and _is_there(f)]),
        ("said to be another patient's", [f for f, key in then.items() if f in now and now[f] != key]),
    )
    for what, files in changes:
        if files:
            raise InputError(
                f"can't resume in {out}: it holds a run of other pictures; {_named(files)} {what}; "
                "give the same paths as then, or another folder"
            )
    return begun


def check_done(journal: Journal, sources: Sequence[Source], workers: int) -> None:
    """Hold what is in the journal against the files as they are now, byte by byte (SHA-256).

    InputError names files that were changed since they were analysed. Where a file could not be read then and can be
    now, the run goes back to it. A file that is gone is believed: its digest stands in its entry.
    """
    done = sources[: journal.n_sources]
    changed, first_back = [], None
    with ThreadPoolExecutor(workers) as pool:
        slides = {s.file: pool.submit(_slide_sha256, s.file) for s in done if s.part is not None}
        of_photographs = pool.map(file_sha256, (s.file for s in done if s.part is None))
        digests = (next(of_photographs) if s.part is None else slides[s.file].result() for s in done)
        for number, (source, (entries, _looks), digest) in enumerate(
            zip(done, journal.of_sources(), digests, strict=True)
        ):
            analysed = entries[0]["sha256"]
            if digest is not None and analysed is None and source.part is None:  # a slide was planned as unreadable
                first_back = number if first_back is None else first_back
            elif digest is not None and digest != analysed:
                changed.append(source.file)
    if changed:
        raise InputError(
            f"can't resume in {journal.path.parent.parent}: {_named(changed)} not what was analysed (changed since); "
            "put the old files back, or analyse the new ones into another folder"
        )
    if first_back is not None:
        journal.cut(sources, first_back)


def _slide_sha256(path: str) -> str | None:
    """Of all files of a slide, once for all of its regions; None where one can't be read."""
    with suppress(ImageError):
        return slide_digest(path)
    return None


def _is_there(file: str) -> bool:
    return exists(file) if is_address(file) else os.path.lexists(file)


def _named(files: Sequence[str]) -> str:
    return f"{files[0]} and {len(files) - 1} more are" if len(files) > 1 else f"{files[0]} is"

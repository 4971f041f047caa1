"""Parts of a run that another process does: photographs of one patient, or some regions of a slide, with a state file
of their own.

A part's state is a journal like the run's (journal.py), in `.work/patients/NUMBER`: a part that was cut off goes on
where it was, and one that is done twice is the same. The run's own journal takes parts in, in the order of the run's
photographs; a part that was taken in is removed.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leukoscope.images.slides import Region
from leukoscope.pipeline.fields import FieldAnalyzer
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.lock import RunLock
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.resume import check_done
from leukoscope.pipeline.ruler import Ruler, measure_ruler, smear_of
from leukoscope.pipeline.sources import Source
from leukoscope.pipeline.threads import First

FOLDER = "patients"
MOST = 64  # photographs: a patient with more has several parts, so that one patient can fill many cores
MOST_PIXELS = 64 * 640 * 480  # of a slide's regions: so many as that many usual photographs have, at least one region


@dataclass(frozen=True, slots=True)
class Part:
    """rows: places in the run's sources, in order; all of one patient."""

    number: int
    rows: tuple[int, ...]

    def folder(self, work: Path) -> Path:
        """Where its state is."""
        return work / FOLDER / f"{self.number:07d}"


def cut_parts(sources: Sequence[Source]) -> list[Part]:
    """The run's photographs by patient, MOST to a part, ordered by their first photograph; the same each time. The
    regions of a slide, which are larger, are fewer to a part."""
    open_rows: dict[str, list[int]] = {}
    done: list[list[int]] = []
    held: dict[str, int] = {}  # patient id -> pixels of regions in the open part
    for row, source in enumerate(sources):
        who, n_pixels = source.key.patient_id, _pixels(source)
        rows = open_rows.get(who)
        if rows is None or len(rows) == MOST or held[who] + n_pixels > MOST_PIXELS:
            rows, held[who] = [], 0
            open_rows[who] = rows
            done.append(rows)
        rows.append(row)
        held[who] += n_pixels
    return [Part(number, tuple(rows)) for number, rows in enumerate(done)]


def _pixels(source: Source) -> int:
    """Of a slide's region; 0 of a photograph, which says so only when it is read."""
    if not isinstance(source.part, Region):
        return 0
    width, height = source.part.size
    return width * height


def remove_parts(work: Path) -> None:
    """What other engines left of a run whose journal is full."""
    shutil.rmtree(work / FOLDER, ignore_errors=True)


def do_part(folder: Path, head: dict, sources: Sequence[Source], first: First, analyzer: FieldAnalyzer) -> None:
    """Analyse the photographs of a part that its state lacks. InputError where one changed since it was analysed, or
    another process is at this part."""
    with RunLock(folder):
        journal = Journal(folder)
        if journal.is_begun():
            journal.check_head(head)
            journal.go_on(sources)
            check_done(journal, sources, 1)
        else:
            journal.begin(head, sources)
        try:
            rulers: dict[tuple[str, ...], Ruler] = {}
            for source in sources[journal.n_sources :]:
                smear = smear_of(source)
                if smear not in rulers:
                    rulers[smear] = measure_ruler(first[smear], analyzer.rooms)
                journal.write(*analyzer(source, lambda ruler=rulers[smear]: ruler))
        finally:
            journal.close()


class TakenIn:
    """The photographs of parts that are done, in the order of the run's."""

    def __init__(self, work: Path, parts: Sequence[Part]) -> None:
        self._work = work
        self._part_of = {row: part for part in parts for row in part.rows}
        self._open: dict[int, Iterator[Analysed]] = {}

    def part(self, row: int) -> Part:
        """The part that holds a photograph."""
        return self._part_of[row]

    def skip(self, n_done: int) -> None:
        """The first photographs are in the run's journal already."""
        for row in range(n_done):
            part = self._part_of.pop(row)
            if part.rows[-1] == row:
                shutil.rmtree(part.folder(self._work), ignore_errors=True)

    def take(self, row: int) -> Iterator[Analysed]:
        """What was found on a photograph whose part is done: one item; its part is removed after its last."""
        part = self._part_of.pop(row)
        fields = self._open.pop(part.number, None)
        if fields is None:
            fields = Journal(part.folder(self._work)).analysed()
            for _ in range(part.rows.index(row)):
                next(fields)
        yield next(fields)
        if row == part.rows[-1]:
            fields.close()
            shutil.rmtree(part.folder(self._work), ignore_errors=True)
        else:
            self._open[part.number] = fields

    def close(self) -> None:
        """Close the files of parts that are half taken in."""
        for fields in self._open.values():
            fields.close()

"""Everything the sections of one report are written from, gathered in two passes over the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leukoscope.report.choose import CellIndex, Plan, choose, index_cells
from leukoscope.report.colors import class_colors
from leukoscope.report.known import Known
from leukoscope.report.pictures import Thumbs
from leukoscope.report.record import Record


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A record with what was chosen of it.

    picture_fields  field index -> field dict, for the annotated fields
    cells           (field, number) -> cell dict, for the gallery
    colors          class -> "#rrggbb"
    known           patient id -> the truth of a rendered patient
    """

    record: Record
    index: CellIndex
    plan: Plan
    picture_fields: dict[int, dict]
    cells: dict[tuple[int, int], dict]
    thumbs: Thumbs
    colors: dict[str, str]
    known: dict[str, Known]

    def total(self, status: str) -> int:
        """Fields of a status in the whole run."""
        return sum(counter[status] for counter in self.index.statuses)


def plan_content(record: Record, **caps: int) -> tuple[CellIndex, Plan]:
    """First pass: index the cells and choose."""
    index = index_cells(record)
    return index, choose(record, index, **caps)


def gather(
    record: Record, index: CellIndex, plan: Plan, thumbs: Thumbs, known: Sequence[Known] = ()
) -> Content:
    """Second pass: keep the chosen fields and cells, nothing else."""
    wanted_fields, wanted_cells = plan.picture_fields(), plan.cells()
    cells_of: dict[int, list[int]] = {}
    for field, number in wanted_cells:
        cells_of.setdefault(field, []).append(number)
    fields, cells = {}, {}
    for at, field in enumerate(record.fields()):
        if at in wanted_fields:
            fields[at] = field
        for number in cells_of.get(at, ()):
            cells[at, number] = field["cells"][number]
    names = record.taxonomy.names
    colors = dict(zip(names, class_colors(names), strict=True))
    return Content(record, index, plan, fields, cells, thumbs, colors, {k.patient_id: k for k in known})

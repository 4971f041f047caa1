"""Everything the sections of one report are written from, gathered in two passes over the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from leukoscope.entries import CellEntry, FieldEntry
from leukoscope.report.choose import CellIndex, Plan, choose, index_cells
from leukoscope.report.colors import class_colors
from leukoscope.report.known import Known
from leukoscope.report.pictures import FieldView, FieldViews, Thumbs
from leukoscope.report.record import Record

FIELDS = "fields"  # folder beside the report: shown fields at full resolution
PATIENTS = "patients"  # folder beside the report: a page a patient


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A record with what was chosen of it.

    picture_fields  field index -> field dict, for the annotated fields
    cells           (field, number) -> cell dict, for the gallery
    files           (field, number) -> its field's file and scale, for the gallery
    colors          class -> "#rrggbb"
    known           patient id -> the truth of a rendered patient
    out             the report, or its index
    pages           whether each patient has a page of its own
    """

    record: Record
    index: CellIndex
    plan: Plan
    picture_fields: dict[int, FieldEntry]
    cells: dict[tuple[int, int], CellEntry]
    files: dict[int, dict]
    thumbs: Thumbs
    views: FieldViews
    colors: dict[str, str]
    known: dict[str, Known]
    out: Path
    pages: bool

    def total(self, status: str) -> int:
        """Fields of a status in the whole run."""
        return sum(counter[status] for counter in self.index.statuses)

    def place(self, row: int | None, *, seen_from: int | None = None) -> str:
        """The address of a patient (None: of the patient list), seen from another patient's page or from the list."""
        if not self.pages:
            return "#patients" if row is None else f"#p-{row}"
        if row is None:
            return f"../{quote(self.out.name)}" if seen_from is not None else "#patients"
        return page_name(row) if seen_from is not None else f"{PATIENTS}/{page_name(row)}"

    def field(self, index: int) -> tuple[FieldView, str | None]:
        """How a field is shown, and the address of its full resolution from the page that shows it."""
        view = self.views.view(index)
        if view.full is None:
            return view, None
        return view, f"{'../' if self.pages else ''}{FIELDS}/{view.full}"


def page_name(row: int) -> str:
    """File of a patient's page, numbered as in the record."""
    return f"{row + 1:04d}.html"


def plan_content(record: Record, **caps: int) -> tuple[CellIndex, Plan]:
    """First pass: index the cells and choose."""
    index = index_cells(record)
    return index, choose(record, index, **caps)


def gather(
    record: Record,
    index: CellIndex,
    plan: Plan,
    thumbs: Thumbs,
    *,
    out: Path,
    pages: bool = False,
    known: Sequence[Known] = (),
) -> Content:
    """Second pass: keep the chosen fields and cells, nothing else."""
    wanted_fields, wanted_cells = plan.picture_fields(), plan.cells()
    cells_of: dict[int, list[int]] = {}
    for field, number in wanted_cells:
        cells_of.setdefault(field, []).append(number)
    fields, cells, files = {}, {}, {}
    for at, field in enumerate(record.fields()):
        if at in wanted_fields:
            fields[at] = field
        for number in cells_of.get(at, ()):
            cells[at, number] = field["cells"][number]
            files[at] = {key: field.get(key) for key in ("file", "um_per_px", "scale_from")}
    names = record.taxonomy.names
    colors = dict(zip(names, class_colors(names), strict=True))
    by_id = {k.patient_id: k for k in known}
    shown = (field for row in plan.order for field in plan.pictures.get(row, ()))
    views = FieldViews(fields, shown, out.parent / FIELDS)
    return Content(record, index, plan, fields, cells, files, thumbs, views, colors, by_id, out, pages)

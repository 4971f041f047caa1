"""Everything the sections of one report are written from: an index of the record, and where its fields stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from leukoscope.entries import CellEntry
from leukoscope.report.choose import CellIndex, Plan, choose, index_cells
from leukoscope.report.colors import class_colors
from leukoscope.report.known import Known
from leukoscope.report.lookup import Fields
from leukoscope.report.pictures import FieldView, FieldViews, Places, SlidePictures, Thumbs
from leukoscope.report.record import Record

FIELDS = "fields"  # folder beside the report: shown fields at full resolution
PATIENTS = "patients"  # folder beside the report: a page a patient
MOST_ROWS = 2000  # of a table on one page: 0.3 to 2 MB


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A record with what was chosen of it.

    fields    field index -> its entry, read when it is asked for
    pictured  the annotated fields
    colors    class -> "#rrggbb"
    known     patient id -> the truth of a rendered patient
    out       the report, or its index
    pages     whether each patient has a page of its own
    """

    record: Record
    index: CellIndex
    plan: Plan
    fields: Fields
    pictured: frozenset[int]
    thumbs: Thumbs
    views: FieldViews
    slide_pictures: SlidePictures
    colors: dict[str, str]
    known: dict[str, Known]
    out: Path
    pages: bool

    @property
    def lists_apart(self) -> bool:
        """Whether the list of all fields is on the patients' pages: it would be too long for the index."""
        return self.pages and self.index.n_fields > MOST_ROWS

    def cell(self, key: tuple[int, int]) -> CellEntry:
        """The cell of a field: (field, number)."""
        return self.fields[key[0]]["cells"][key[1]]

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


def list_name(out: Path, number: int) -> str:
    """File of the `number`-th page (from 0) of the list of patients: the report itself, then report-2.html and on."""
    return f"{out.stem}-{number + 1}{out.suffix}" if number else out.name


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
    slide_pictures: SlidePictures,
    *,
    out: Path,
    pages: bool = False,
    known: Sequence[Known] = (),
    places: Places = MappingProxyType({}),
) -> Content:
    """Second pass: find where the fields stand in the file."""
    fields, pictured = Fields(record), frozenset(plan.picture_fields())
    names = record.taxonomy.names
    colors = dict(zip(names, class_colors(names), strict=True))
    by_id = {k.patient_id: k for k in known}
    shown = (field for row in plan.order for field in plan.pictures.get(row, ()))
    views = FieldViews(fields, shown, out.parent / FIELDS, places)
    return Content(record, index, plan, fields, pictured, thumbs, views, slide_pictures, colors, by_id, out, pages)

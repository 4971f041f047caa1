"""The entries of a record as types, key by key; docs/record.md is the contract and says what each means.

A record is JSON that others read too, so its entries stay dicts. These types are what a reader of the code and a type
checker go by. The keys that are not `NotRequired` are those that `read_record` asks of a file: no postponed annotations
here, with them Python takes every key for required.
"""

from typing import Any, NotRequired, TypedDict

Box = list[float]  # x0, y0, x1, y1 in px of the picture, half-open
Outline = list[list[float]]  # [[x, y], ...] in px, closed


class SameCell(TypedDict):
    """Where the cell stands that counts instead."""

    field: int
    cell: int
    border: NotRequired[bool]  # both are regions of one slide, and the cell lies at their border


CellEntry = TypedDict(
    "CellEntry",
    {
        "box": Box,
        "class": str,
        "probs": dict[str, float],
        "score": float,
        "suspicion": float,
        "identified": NotRequired[bool],  # not in a journal, where no rule was applied yet
        "attributes": NotRequired[dict[str, str]],
        "contour": NotRequired[Outline | None],
        "nuclei": NotRequired[list[Outline]],
        "cell_area_px": NotRequired[float | None],
        "nucleus_area_px": NotRequired[float | None],
        "nc_ratio": NotRequired[float | None],
        "same_as": NotRequired[SameCell],
    },
)


class Overlap(TypedDict):
    """An earlier field of which this one shows a part, moved by `shift` px."""

    field: int
    file: str
    shift: list[float]
    agreement: float
    proven: bool
    n_same: int


class Repeat(TypedDict):
    """The field that this one shows again."""

    field: int
    file: str
    how: str
    agreement: float


class RegionEntry(TypedDict):
    """Where on its slide a field lies: boxes in px of level 0; what was read, what is counted, which plane of focus."""

    box: list[int]
    core: list[int]
    plane: int


class SlideEntry(TypedDict):
    """A slide of the run: what its file says, what was counted of it and why the rest was not."""

    file: str
    sha256: str
    patient_id: str
    smear_id: str
    reader: str
    vendor: str
    width: int
    height: int
    n_levels: int
    n_planes: int
    um_per_px: float | None
    red_cell_px: float | None
    whole: bool
    n_regions: int
    tile_px: int
    mm2: dict[str, float]
    map: list[str]


class FieldEntry(TypedDict):
    """A photograph of the run, a page of it, or a region of a slide."""

    file: str
    sha256: str | None
    patient_id: str
    smear_id: str
    center: str
    status: str
    reason: str | None
    width: int | None
    height: int | None
    um_per_px: float | None
    quality: dict[str, Any] | None
    cells: list[CellEntry]
    note: NotRequired[str | None]
    detail: NotRequired[str]
    scale_from: NotRequired[str | None]
    red_cell_px: NotRequired[float | None]
    scale_doubt: NotRequired[str | None]
    tile_px: NotRequired[int]
    pages: NotRequired[list[int]]
    region: NotRequired[RegionEntry]
    repeats: NotRequired[Repeat]
    overlaps: NotRequired[list[Overlap]]
    also_of: NotRequired[list[str]]


ClassRow = TypedDict("ClassRow", {"class": str, "count": int, "expected": float, "share": float | None, "role": str})
ClassRow.__doc__ = "One class of a differential; `share` is of the denominator, None for what is not in it."


class Further(TypedDict):
    """How many more counted cells settle on which side of a line the ratio is; None: no number within reach."""

    threshold: float
    cells: int | None
    fields: int | None


class NoneSeen(TypedDict):
    """What a count without any cell of the numerator can have missed."""

    upper: float
    level: float
    further_cells: list[Further]


class RateEntry(TypedDict):
    """An error rate of the classifier for this patient's mix of cells."""

    n_called: int
    n_cells: int
    value: float | None
    low: float | None
    high: float | None


class ScatterEntry(TypedDict):
    """By how much patients' error rates differ, and how that is known."""

    sd: float
    n_patients: int
    unit: str


class EstimateEntry(TypedDict):
    """A ratio with its limits, and what they cover."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    covers: str


class CorrectedEntry(EstimateEntry):
    """A ratio with the classifier's errors taken out."""

    own_cells: int
    reason: str | None
    sensitivity: RateEntry
    false_alarm: RateEntry
    unseen: float
    further_cells: list[Further]
    worth: NotRequired[float | None]  # since version 2
    scatter: NotRequired[ScatterEntry]


class RatioEntry(EstimateEntry):
    """The share of blasts, or of a composite, of one patient."""

    name: str
    of: str
    numerator: int
    denominator: int
    band: str | None
    band_reason: str | None
    band_minimum: int
    lines: list[float]
    further_cells: list[Further]
    none_seen: NoneSeen | None
    corrected: CorrectedEntry | None


class HealthyRate(TypedDict):
    """How often healthy smears carry a flag."""

    n_cells: int
    rate: float
    low: float
    high: float
    n_films: int
    set: str


class FlagEntry(TypedDict):
    """What a reader must know before the numbers."""

    code: str
    text: str
    healthy: HealthyRate | None


class NotOffered(TypedDict):
    """What a model can't tell: the absence of a flag of this code says nothing."""

    code: str
    text: str


class PatientEntry(TypedDict):
    """One patient of the run."""

    patient_id: str
    specimen: str
    center: list[str]
    smear_ids: list[str]
    n_fields: int
    n_failed: int
    n_poor: int
    n_cells: int
    denominator: str
    n_counted: int
    count_tier: str
    n_nucleated_red: int
    nucleated_red_per_100: float | None
    n_unidentified: int
    differential: list[ClassRow]
    ratios: list[RatioEntry]
    artefacts_per_100: float | None
    flags: list[FlagEntry]
    n_repeated: NotRequired[int]
    n_same_cells: NotRequired[int]
    stated: NotRequired[dict[str, float | str]]

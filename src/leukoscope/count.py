"""From calls to a patient's differential, ratios and bands. Written to be read by a haematologist.

In blood a ratio is a share of the leukocytes, nucleated red cells stand beside; in marrow it is a share of all
nucleated cells (docs/decisions/0019-clinical-rules.md). Artefacts, smudges and cells that are not identified never
move a ratio. What must be looked at is in `flags.py`; the numbers of practice are in `practice.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import InputError
from leukoscope.intervals import clopper_pearson, wilson
from leukoscope.practice import BAND_EDGES, BANDS, COUNT_TIERS, LEAST_MINIMUM, MINIMUM_CELLS
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Differential, Ratio

COVERS = "sampling error only; not the classifier's errors"
LEUKOCYTES, NUCLEATED = "leukocytes", "nucleated_cells"

# What becomes of a class: in the denominator; nucleated, but no leukocyte, beside it (blood); smudges and the like;
# anything else that a model names and nobody counts.
COUNTED, BESIDE, ARTEFACT, NOT_COUNTED = "counted", "beside", "artefact", "not_counted"

# Why a ratio has no band.
NO_CELLS = "no_cells"
COMPOSITE = "composite"
LYMPHOID = "lymphoid"
SEVERAL_LINES = "several_lines"
LINE_NOT_KNOWN = "lineage_not_known"
TOO_FEW = "too_few_cells"


def count(calls: Iterable[Calls]) -> Differential:
    """Count the cells of one patient, one `Calls` a field (fields without cells included).

    A cell that is not identified (`Calls.identified`) is counted apart, in no class.
    Raises InputError when the fields come from several patients, specimens or taxonomies, or there are none:
    use `no_cells` for a patient of whom no field could be read.
    """
    total: Differential | None = None
    for one in calls:
        key, known = one.cells.key, one.identified()
        field = Differential(
            patient_id=key.patient_id,
            specimen=key.specimen,
            counts=np.bincount(one.class_ids()[known], minlength=len(one.taxonomy.names)),
            expected=one.probs[known].sum(0, dtype=np.float64),
            n_fields=1,
            taxonomy=one.taxonomy,
            n_unidentified=int((~known).sum()),
        )
        total = field if total is None else add(total, field)
    if total is None:
        raise InputError(
            "nothing to count: expected the calls of at least one field; use no_cells for an empty patient"
        )
    return total


def no_cells(patient_id: str, specimen: str, taxonomy: Taxonomy) -> Differential:
    """The differential of a patient before any field was counted."""
    zeros = np.zeros(len(taxonomy.names))
    return Differential(patient_id, specimen, zeros, zeros, 0, taxonomy)


def add(a: Differential, b: Differential) -> Differential:
    """The differential of all fields of both; InputError unless patient, specimen and taxonomy are the same."""
    for what, of_a, of_b in (
        ("patients", a.patient_id, b.patient_id),
        ("specimens", a.specimen, b.specimen),
        ("taxonomies", a.taxonomy.name, b.taxonomy.name),
    ):
        if of_a != of_b:
            raise InputError(f"can't add the cells of two {what}: got {of_a!r} and {of_b!r}; count each on its own")
    if a.taxonomy != b.taxonomy:
        raise InputError(f"can't add cells of two different taxonomies that are both called {a.taxonomy.name!r}")
    return Differential(
        a.patient_id,
        a.specimen,
        a.counts + b.counts,
        a.expected + b.expected,
        a.n_fields + b.n_fields,
        a.taxonomy,
        a.n_unidentified + b.n_unidentified,
    )


def ratio(
    differential: Differential, subset: str = "blasts", *, level: float = 0.95, method: str = "clopper-pearson"
) -> Ratio:
    """Share of a subset among the cells of its denominator (`denominator_of`), with its limits.

    subset  "blasts", "myeloid_blasts", "lymphoid_blasts", a composite such as "cblc", or one counted class
    method  "clopper-pearson" (exact; Rümke's table) or "wilson"
    Limits cover sampling error only, not the classifier's errors; they are NaN where nothing was counted.
    """
    if method not in ("clopper-pearson", "wilson"):
        raise InputError(f"method must be clopper-pearson or wilson, got {method!r}")
    _, classes = denominator_of(differential.taxonomy, differential.specimen, subset)
    numerator = cells_of(differential, members_of(differential.taxonomy, subset))
    denominator = cells_of(differential, classes)
    limits = clopper_pearson if method == "clopper-pearson" else wilson
    low, high = limits(numerator, denominator, level=level)
    return Ratio(subset, numerator, denominator, low, high, level, method)


def members_of(taxonomy: Taxonomy, subset: str) -> tuple[str, ...]:
    """Classes of a numerator; InputError when it names none or some that are not counted."""
    groups = {name: (name,) for name in taxonomy.counted}
    groups |= {k: getattr(taxonomy, k) for k in ("blasts", "myeloid_blasts", "lymphoid_blasts")} | taxonomy.composites
    if not groups.get(subset):
        have = ", ".join(name for name, members in groups.items() if members)
        raise InputError(f"taxonomy {taxonomy.name!r} has no counted cells called {subset!r}; expected one of {have}")
    return groups[subset]


def denominator_of(taxonomy: Taxonomy, specimen: str, subset: str = "blasts") -> tuple[str, tuple[str, ...]]:
    """What a ratio is a share of: "leukocytes" or "nucleated_cells", and the classes.

    A numerator that holds cells which are no leukocytes (CBLC has erythroblasts) is a share of all nucleated cells in
    blood, too: it must be a part of its denominator.
    """
    classes = taxonomy.denominator(specimen)
    if specimen == "blood" and set(members_of(taxonomy, subset)) <= set(classes):
        return LEUKOCYTES, classes
    return NUCLEATED, taxonomy.counted


def roles_of(taxonomy: Taxonomy, specimen: str) -> dict[str, str]:
    """Class name -> COUNTED, BESIDE, ARTEFACT or NOT_COUNTED."""
    inside = taxonomy.denominator(specimen)
    groups = {COUNTED: inside, BESIDE: taxonomy.counted, ARTEFACT: taxonomy.artefacts, NOT_COUNTED: taxonomy.names}
    return {name: next(role for role, members in groups.items() if name in members) for name in taxonomy.names}


def reported_subsets(taxonomy: Taxonomy) -> list[str]:
    """The ratios that a report prints: all blasts, each line where the model tells them apart, then composites."""
    lines = ("myeloid_blasts", "lymphoid_blasts") if taxonomy.lineage_known and taxonomy.lymphoid_blasts else ()
    return (["blasts"] if taxonomy.blasts else []) + list(lines) + list(taxonomy.composites)


def ratios(differential: Differential) -> list[Ratio]:
    """The ratios of `reported_subsets`."""
    return [ratio(differential, subset) for subset in reported_subsets(differential.taxonomy)]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a ratio may be read against the lines at 5, 10 and 20 %.

    band    ELN/ICC band: "<5", "5-9", "10-19" or ">=20" (percent), or None and `reason` says why
    reason  "no_cells"; "composite" (no blasts in WHO's sense); "lymphoid"; "several_lines" (each has its own ratio);
            "lineage_not_known"; "too_few_cells" (fewer than `minimum`)
    lines   the lines that may be drawn: where the lineage is not known for orientation only
    """

    band: str | None
    reason: str | None
    lines: tuple[float, ...]


def read_bands(differential: Differential, ratio: Ratio, *, minimum: int | None = None) -> Reading:
    """The band of a ratio, or why it has none. A band is never a diagnosis: a smear does not know genetics.

    minimum  fewest cells; None: the specimen's own (`practice.MINIMUM_CELLS`); never below `practice.LEAST_MINIMUM`
    """
    reason = _no_band(differential.taxonomy, ratio.name)
    lines = BAND_EDGES if reason in (None, LINE_NOT_KNOWN) else ()
    if ratio.denominator == 0:
        return Reading(None, NO_CELLS, lines)
    if reason is None and ratio.denominator < band_minimum(differential.specimen, minimum):
        reason = TOO_FEW
    if reason is not None:
        return Reading(None, reason, lines)
    return Reading(next(name for lower, name in BANDS if ratio.value >= lower), None, lines)


def _no_band(taxonomy: Taxonomy, subset: str) -> str | None:
    """Why a ratio of this numerator never has a band; None where it may have one."""
    if subset not in ("blasts", "myeloid_blasts", "lymphoid_blasts"):
        return COMPOSITE
    if not taxonomy.lineage_known:
        return LINE_NOT_KNOWN
    if subset == "lymphoid_blasts":
        return LYMPHOID
    return SEVERAL_LINES if subset == "blasts" and taxonomy.lymphoid_blasts else None


def band_minimum(specimen: str, asked: int | None = None) -> int:
    """Cells that a band needs: what was asked for, but never fewer than LEAST_MINIMUM; None: the specimen's own."""
    return max(LEAST_MINIMUM, MINIMUM_CELLS[specimen] if asked is None else asked)


def count_tier(specimen: str, n_counted: int) -> str:
    """What laboratories call a count of so many cells."""
    return next(name for least, name in COUNT_TIERS[specimen] if n_counted >= least)


def artefacts_per_100(differential: Differential) -> float | None:
    """Artefacts and smudges for every 100 cells of the denominator; None where nothing was counted."""
    return _per_100(differential, differential.taxonomy.artefacts)


def nucleated_red_per_100(differential: Differential) -> float | None:
    """Blood: nucleated red cells for every 100 leukocytes. None in marrow, where they are in the differential, for a
    model without such a class, and where no leukocyte was counted."""
    classes = differential.taxonomy.nucleated_red
    return _per_100(differential, classes) if differential.specimen == "blood" and classes else None


def cells_of(differential: Differential, class_names: tuple[str, ...]) -> int:
    """Number of cells of some classes."""
    return int(differential.counts[differential.taxonomy.columns(class_names)].sum())


def _per_100(differential: Differential, class_names: tuple[str, ...]) -> float | None:
    if not differential.n_counted:
        return None
    return 100 * cells_of(differential, class_names) / differential.n_counted

"""From calls to a patient's differential, ratios, band and flags. Written to be read by a haematologist.

The denominator is all nucleated cells (docs/decisions/0003-denominator.md): artefacts, smudges and cells that the
taxonomy does not count never move a ratio.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from leukoscope.errors import InputError
from leukoscope.intervals import clopper_pearson, wilson
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Differential, Ratio

# ELN 2022 and ICC 2022 read blasts at 5, 10 and 20 % of nucleated cells; a lower edge belongs to its band.
BANDS = ((0.20, ">=20"), (0.10, "10-19"), (0.05, "5-9"), (0.0, "<5"))
COVERS = "sampling error only; not the classifier's errors"

# docs/decisions/0004-flags.md says why.
APL_PROMYELOCYTE_SHARE = 0.20
APL_PROMYELOCYTE_CELLS = 5
MARROW_BLAST_SHARE = 0.05


def count(calls: Iterable[Calls]) -> Differential:
    """Count the cells of one patient, one `Calls` a field (fields without cells included).

    Raises InputError when the fields come from several patients, specimens or taxonomies, or there are none:
    use `no_cells` for a patient of whom no field could be read.
    """
    total: Differential | None = None
    for one in calls:
        key = one.cells.key
        field = Differential(
            patient_id=key.patient_id,
            specimen=key.specimen,
            counts=np.bincount(one.class_ids(), minlength=len(one.taxonomy.names)),
            expected=one.probs.sum(0, dtype=np.float64),
            n_fields=1,
            taxonomy=one.taxonomy,
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
        a.patient_id, a.specimen, a.counts + b.counts, a.expected + b.expected, a.n_fields + b.n_fields, a.taxonomy
    )


def ratio(
    differential: Differential, subset: str = "blasts", *, level: float = 0.95, method: str = "clopper-pearson"
) -> Ratio:
    """Share of a subset among the counted cells, with its limits.

    subset  "blasts", a composite of the taxonomy such as "cblc", or one counted class
    method  "clopper-pearson" (exact; Rümke's table) or "wilson"
    Limits cover sampling error only, not the classifier's errors; they are NaN where nothing was counted.
    """
    if method not in ("clopper-pearson", "wilson"):
        raise InputError(f"method must be clopper-pearson or wilson, got {method!r}")
    members = members_of(differential.taxonomy, subset)
    numerator = int(differential.counts[differential.taxonomy.columns(members)].sum())
    limits = clopper_pearson if method == "clopper-pearson" else wilson
    low, high = limits(numerator, differential.n_counted, level=level)
    return Ratio(subset, numerator, differential.n_counted, low, high, level, method)


def members_of(taxonomy: Taxonomy, subset: str) -> tuple[str, ...]:
    """Classes of a numerator; InputError when it names none or some that are not counted."""
    groups = {name: (name,) for name in taxonomy.counted}
    groups |= {"blasts": taxonomy.blasts, **taxonomy.composites}
    if not groups.get(subset):
        have = ", ".join(name for name, members in groups.items() if members)
        raise InputError(f"taxonomy {taxonomy.name!r} has no counted cells called {subset!r}; expected one of {have}")
    return groups[subset]


def ratios(differential: Differential) -> list[Ratio]:
    """The ratios that a report prints: blasts where the taxonomy has any, then its composites."""
    subsets = (["blasts"] if differential.taxonomy.blasts else []) + list(differential.taxonomy.composites)
    return [ratio(differential, subset) for subset in subsets]


def band(blasts: Ratio) -> str | None:
    """ELN/ICC band of a blast ratio: "<5", "5-9", "10-19" or ">=20" (percent); None where nothing was counted.

    A band is never a diagnosis: a smear does not know genetics. Composites such as CBLC are not WHO blasts and
    have no band: None for every ratio that is not called "blasts".
    """
    if blasts.name != "blasts" or blasts.denominator == 0:
        return None
    return next(name for lower, name in BANDS if blasts.value >= lower)


def artefacts_per_100(differential: Differential) -> float | None:
    """Artefacts and smudges for every 100 counted cells; None where nothing was counted."""
    if not differential.n_counted:
        return None
    return 100 * _number(differential, differential.taxonomy.artefacts) / differential.n_counted


def flags(differential: Differential, *, min_cells: int, n_failed: int = 0, n_poor: int = 0) -> list[dict[str, str]]:
    """What a reader must know before the numbers, most urgent first: dicts of `code` and `text`.

    suspected_apl   see `suspects_apl`
    review_blasts   blood: any cell called a blast, for healthy blood has none; marrow: 5 % or more
    no_cells        nothing was counted; few_cells: fewer than `min_cells`
    failed_fields   fields that could not be read; poor_fields: fields that were counted but are of poor quality
    A text never names a treatment.
    """
    n, found = differential.n_counted, []
    if suspects_apl(differential):
        found.append(("suspected_apl", "Cells that look like APL promyelocytes: urgent haematologist review."))
    n_blasts = _number(differential, differential.taxonomy.blasts)
    if n_blasts and (differential.specimen == "blood" or n_blasts / n >= MARROW_BLAST_SHARE):
        found.append(
            ("review_blasts", f"{n_blasts} of {n} counted cells were called blasts: a morphologist must look at them.")
        )
    if n == 0:
        found.append(("no_cells", "No cell was counted: there is no differential and no ratio."))
    elif n < min_cells:
        found.append(("few_cells", f"Only {n} cells were counted; at least {min_cells} were asked for."))
    if n_failed:
        found.append(("failed_fields", f"{_fields(n_failed)} could not be read and left no cells in these numbers."))
    if n_poor:
        found.append(("poor_fields", f"{_fields(n_poor)} of poor quality; the cells are counted all the same."))
    return [{"code": code, "text": text} for code, text in found]


def suspects_apl(differential: Differential) -> bool:
    """Whether the cells call for an urgent look because of acute promyelocytic leukaemia.

    True when any cell was called `apl_promyelocyte`, or, with a taxonomy that knows only promyelocytes, when they
    are at least 20 % of the counted cells and at least 5 (docs/decisions/0004-flags.md). It errs on the side of
    asking: APL is an emergency.
    """
    names, n = differential.taxonomy.names, differential.n_counted
    if "apl_promyelocyte" in names and _number(differential, ("apl_promyelocyte",)):
        return True
    n_promyelocytes = _number(differential, tuple(name for name in ("promyelocyte",) if name in names))
    return n_promyelocytes >= APL_PROMYELOCYTE_CELLS and n_promyelocytes / n >= APL_PROMYELOCYTE_SHARE


def _number(differential: Differential, class_names: tuple[str, ...]) -> int:
    return int(differential.counts[differential.taxonomy.columns(class_names)].sum())


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"

"""What a reader must know before the numbers: rules, not models (docs/decisions/0019-clinical-rules.md).

A rule is offered only where the model can know what it asks about; `not_offered` says what is not. None names a
treatment, and no flag is never a reassurance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from leukoscope.count import cells_of, denominator_of, nucleated_red_per_100
from leukoscope.entries import FlagEntry, HealthyRate, NotOffered
from leukoscope.errors import UNREADABLE, ModelError, in_short
from leukoscope.intervals import clopper_pearson
from leukoscope.models.bundle import Card
from leukoscope.practice import (
    BOTH_LINES_SHARE,
    COMPOSITE_EXCESS,
    ERYTHROID_SHARE,
    LEFT_OUT_SHARE,
    MARROW_BLAST_SHARE,
    MINIMUM_CELLS,
    NUCLEATED_RED_PER_100,
    PROERYTHROBLAST_SHARE,
)
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential

APL = ("apl_promyelocyte", "faggot_cell", "bilobed_promyelocyte")  # abnormal promyelocytes, as in APL


@dataclass(frozen=True, slots=True)
class Likeness:
    """How sure a model is of cells like those it knows: `share` of them have a best probability below `below`; of a
    patient whose share is surely above `limit` the cells are unlike them."""

    below: float
    share: float
    limit: float

    def __post_init__(self) -> None:
        if not (0 < self.below < 1 and 0 <= self.share <= self.limit < 1):
            raise ModelError(f"likeness needs 0 < below < 1 and 0 <= share <= limit < 1, got {self}")


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a model's card says it can know; the default is a card that says nothing.

    least_prob  a cell whose best probability is below it is not identified (threshold "unidentified"); 0: none
    apl_cells   real cells of acute promyelocytic leukaemia that the model was trained on
    likeness    see `Likeness`; None: the card has no reference
    rates       flag code -> rates on healthy smears, dicts of n_cells, rate, low, high, n_films, set
    """

    least_prob: float = 0.0
    apl_cells: int = 0
    likeness: Likeness | None = None
    rates: dict[str, tuple[HealthyRate, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> Knowledge:
        """From a classifier's card: threshold "unidentified", and `clinical` with apl, likeness, flag_rates."""
        said = card.clinical or {}
        least_prob = card.thresholds.get("unidentified", 0.0)
        if not 0 <= least_prob < 1:
            raise ModelError(f"card {card.name!r}: threshold unidentified must lie in [0, 1), got {least_prob}")
        try:
            likeness = said.get("likeness")
            rates: dict[str, tuple[Any, ...]] = {}
            for row in said.get("flag_rates", ()):
                rates[row["code"]] = (*rates.get(row["code"], ()), {k: v for k, v in row.items() if k != "code"})
            return cls(
                least_prob,
                int((said.get("apl") or {}).get("cells", 0)),
                None if likeness is None else Likeness(*(float(likeness[k]) for k in ("below", "share", "limit"))),
                rates,
            )
        except UNREADABLE as error:
            raise ModelError(
                f"card {card.name!r}: clinical holds a value of the wrong kind: {in_short(error)}"
            ) from None

    def healthy(self, code: str, n_counted: int) -> HealthyRate | None:
        """How often healthy smears carry a flag: of the largest film that holds no more cells, else the smallest."""
        rows = sorted(self.rates.get(code, ()), key=lambda row: row["n_cells"])
        smaller = [row for row in rows if row["n_cells"] <= n_counted]
        return smaller[-1] if smaller else rows[0] if rows else None


def not_offered(taxonomy: Taxonomy, specimen: str, knowledge: Knowledge) -> list[NotOffered]:
    """What this model can't tell, as dicts of `code` and `text`: an absent flag of these codes says nothing."""
    reasons = []
    if not set(APL) & set(taxonomy.names) or not knowledge.apl_cells:
        reasons.append(
            ("suspected_apl", "APL can't be recognised by this model: it learnt from no cells of patients with APL.")
        )
    if knowledge.likeness is None:
        reasons.append(
            ("unlike_cells", "Whether cells are unlike those the model knows is not told: its card has no reference.")
        )
    if specimen == "marrow" and not taxonomy.nucleated_red:
        reasons.append(
            ("erythroid_pattern", "Erythroid leukaemia can't be seen: the model has no nucleated red cells.")
        )
    if taxonomy.blasts and not taxonomy.lineage_known:
        reasons.append(
            ("band", "The line of a blast is not known to this model: 5, 10 and 20 % are drawn for orientation only.")
        )
    elif taxonomy.blasts and not taxonomy.lymphoid_blasts:
        reasons.append(
            ("lymphoid_blasts", "The model has no class for lymphoblasts: it calls them something else, also blasts.")
        )
    return [{"code": code, "text": text} for code, text in reasons]


def flags(
    differential: Differential,
    *,
    min_cells: int,
    n_failed: int = 0,
    n_poor: int = 0,
    n_unsure: int = 0,
    knowledge: Knowledge | None = None,
) -> list[FlagEntry]:
    """What a reader must know before the numbers, most urgent first: dicts of `code`, `text` and `healthy`.

    n_unsure  found cells whose best probability is below the `below` of the card's likeness
    healthy   the flag's rate on healthy smears (`Knowledge.rates`), None where the card has none or it is no finding
    The codes are explained in docs/record.md.
    """
    knowledge = knowledge or Knowledge()
    raised = [
        *_apl(differential, knowledge),
        *_red_cells(differential),
        *_blasts(differential),
        *_composites(differential),
        *_left_out(differential),
        *_unlike(differential, n_unsure, knowledge),
        *_number_of_cells(differential, min_cells),
    ]
    if n_failed:
        raised.append(("failed_fields", f"{_fields(n_failed)} could not be read and left no cells in these numbers."))
    if n_poor:
        raised.append(("poor_fields", f"{_fields(n_poor)} of poor quality; the cells are counted all the same."))
    n = differential.n_counted
    return [{"code": code, "text": text, "healthy": knowledge.healthy(code, n)} for code, text in raised]


def _apl(d: Differential, knowledge: Knowledge):
    """Any cell called so, where the model learnt it from patients: APL is an emergency, worth false alarms."""
    n = cells_of(d, tuple(name for name in APL if name in d.taxonomy.names))
    if n and knowledge.apl_cells:
        yield ("suspected_apl", f"{_cells(n)} called APL promyelocyte: urgent haematologist review.")
    elif n:
        yield (
            "unsure_apl",
            f"{_cells(n)} called APL promyelocyte, by a model that was not shown to know them from patients: a "
            "haematologist must look at them.",
        )


def _red_cells(d: Differential):
    """Erythroid leukaemia hides from a blast ratio: its proerythroblasts are no blasts in it."""
    red = cells_of(d, d.taxonomy.nucleated_red)
    nucleated = cells_of(d, d.taxonomy.counted)
    early = tuple(n for n in ("proerythroblast",) if n in d.taxonomy.nucleated_red)
    n_early = cells_of(d, early)
    if d.specimen == "marrow":
        if nucleated and (n_early >= PROERYTHROBLAST_SHARE * nucleated or red >= ERYTHROID_SHARE * nucleated):
            which = f", {n_early} of them proerythroblasts" if early else ""
            yield (
                "erythroid_pattern",
                f"{red} of {nucleated} nucleated cells are erythroid{which}: erythroid leukaemia has few other blasts, "
                "so the blast ratio says nothing here. A haematologist must look at these cells.",
            )
        return
    per_100, leukocytes = nucleated_red_per_100(d), d.n_counted
    if n_early:
        yield ("erythroid_pattern", f"{_cells(n_early)} called proerythroblast in blood: a morphologist must look.")
    if red and (per_100 is None or per_100 > NUCLEATED_RED_PER_100):
        share = "" if per_100 is None else f" ({per_100:.0f} per 100)"
        yield (
            "nucleated_red_cells",
            f"{red} nucleated red cells beside {leukocytes} leukocytes{share}: they are in no ratio of leukocytes.",
        )


def _blasts(d: Differential):
    """Healthy blood has no blast, healthy marrow some, below 5 %. Blasts of both lines are not one number."""
    taxonomy, n = d.taxonomy, d.n_counted
    blasts = cells_of(d, taxonomy.blasts)
    if blasts and (d.specimen == "blood" or blasts >= MARROW_BLAST_SHARE * n):
        yield "review_blasts", f"{blasts} of {n} counted cells were called blasts: a morphologist must look at them."
    if taxonomy.lineage_known and n:
        myeloid, lymphoid = (cells_of(d, s) for s in (taxonomy.myeloid_blasts, taxonomy.lymphoid_blasts))
        if min(myeloid, lymphoid) >= BOTH_LINES_SHARE * n:
            yield (
                "blasts_of_both_lines",
                f"{myeloid} blasts were called myeloid and {lymphoid} lymphoid: no ratio of one line is the whole, and "
                "morphology alone does not settle the line.",
            )


def _composites(d: Differential):
    """A composite far above the blasts is made of other stages: erythroid, promyelocytes, megakaryocytic."""
    if not d.taxonomy.blasts:
        return
    for name, members in d.taxonomy.composites.items():
        _, classes = denominator_of(d.taxonomy, d.specimen, name)
        n, rest = cells_of(d, classes), cells_of(d, tuple(m for m in members if m not in d.taxonomy.blasts))
        if n and rest >= COMPOSITE_EXCESS * n:
            most = max((m for m in members if m not in d.taxonomy.blasts), key=lambda m: cells_of(d, (m,)))
            yield (
                "composite_above_blasts",
                f"{rest} of {n} cells are in {name.upper()} and no blasts, most of them "
                f"{most.replace('_', ' ')}: the blast ratio does not speak of them.",
            )


def _left_out(d: Differential):
    """Cells that a model doesn't know end as artefacts, smudges or not identified, and leave the denominator."""
    smudges = tuple(n for n in d.taxonomy.artefacts if n == "smudge_cell")
    n_smudges, n_artefacts = cells_of(d, smudges), cells_of(d, d.taxonomy.artefacts)
    out = n_artefacts + d.n_unidentified
    if out and out >= LEFT_OUT_SHARE * d.n_found:
        parts = [f"{n_artefacts - n_smudges} as artefacts"] + ([f"{n_smudges} as smudges"] if smudges else [])
        parts += [f"{d.n_unidentified} as not identified"] if d.n_unidentified else []
        yield (
            "many_left_out",
            f"{out} of {d.n_found} cells found are in no ratio ({', '.join(parts)}): leukaemic cells that the model "
            "doesn't know may be among them.",
        )


def _unlike(d: Differential, n_unsure: int, knowledge: Knowledge):
    reference = knowledge.likeness
    if reference is None or not d.n_found:
        return
    low, _ = clopper_pearson(n_unsure, d.n_found)
    if low > reference.limit:
        yield (
            "unlike_cells",
            f"The model is unsure of {n_unsure} of {d.n_found} cells ({100 * n_unsure / d.n_found:.0f} %; of cells "
            f"like those it knows {100 * reference.share:.0f} %): these cells, or their stain, are unlike those.",
        )


def _number_of_cells(d: Differential, min_cells: int):
    n, usual = d.n_counted, MINIMUM_CELLS[d.specimen]
    what = "leukocyte" if d.specimen == "blood" else "cell"
    if n == 0:
        yield "no_cells", f"No {what} was counted: there is no differential and no ratio."
    elif n < max(min_cells, usual):
        asked = (
            f"at least {min_cells} were asked for" if n < min_cells else f"this run asked for {min_cells} (--min-cells)"
        )
        others = f", laboratories count {usual} in {d.specimen}" if min_cells < usual else ""
        yield "few_cells", f"Only {n} {what}s were counted: {asked}{others}."


def _cells(n: int) -> str:
    return "1 cell was" if n == 1 else f"{n} cells were"


def _fields(n: int) -> str:
    return "1 field" if n == 1 else f"{n} fields"

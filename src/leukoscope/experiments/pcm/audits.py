"""Every study begins with the audit: of the data alone, and of every other set against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from leukoscope.dataset.audit import Audit, audit_dataset
from leukoscope.dataset.audit.duplicates import connected
from leukoscope.dataset.manifest import Dataset
from leukoscope.progress import StageProgress, no_stages

_RANK = {"test": 3, "val": 2, "train": 1, None: 0}  # what stays where a picture or a patient stands on two sides


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit found, as words and counts.

    sets          names of what was audited: one set, or the data and another
    clean         nothing there flatters a result
    leaks         pairs of pictures that show the same across splits or sets
    patients, smears   on two sides; None where none are stated
    two_labels    cells under two classes
    unreadable    pictures that could not be compared
    inside        pairs inside one split: no leak, and why intervals go by cluster
    n_fields      photographs looked at
    clusters      rows of the first set's fields that show the same
    """

    sets: tuple[str, ...]
    clean: bool
    leaks: int
    patients: int | None
    smears: int | None
    two_labels: int
    unreadable: int
    inside: int
    n_fields: int
    clusters: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict:
        return {k: getattr(self, k) for k in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: dict) -> Finding:
        """The inverse of `to_dict`, lists from JSON included."""
        clusters = tuple(tuple(c) for c in values["clusters"])
        return cls(**(values | {"sets": tuple(values["sets"]), "clusters": clusters}))

    def problems(self) -> list[str]:
        """What leaks, a line each; cells under two labels and unread pictures are no leak of a split."""
        where = " and ".join(self.sets)
        said = (
            (self.leaks, "pairs of photographs show the same across splits or sets"),
            (self.patients or 0, "patients stand on two sides"),
            (self.smears or 0, "smears stand on two sides"),
        )
        return [f"{where}: {n} {words}" for n, words in said if n]


def audit_sets(
    data: Dataset, others: Sequence[Dataset], *, progress: StageProgress = no_stages
) -> tuple[list[Finding], list[Audit]]:
    """The data alone; each other set alone and the data against it. Returns findings and the audits of the data."""
    alone = audit_dataset(data, progress=progress)
    findings, kept = [finding_of(alone)], [alone]
    for other in others:
        findings.append(finding_of(audit_dataset(other, progress=progress)))
        against = audit_dataset(data, other, progress=progress)
        kept.append(against)
        findings.append(finding_of(against))
    return findings, kept


def finding_of(audit: Audit) -> Finding:
    """An audit in numbers. Against another set only what stands across the two counts: the rest is its own audit's."""
    two = len(audit.datasets) > 1
    leaks = [p for p in audit.leaks if not two or audit.sides[p.first].dataset != audit.sides[p.second].dataset]
    inside = [] if two else [p for p in audit.pairs if not audit.is_across(p)]
    straddlers = [s for s in audit.straddlers if not two or len({side.dataset for side, _ in s.sides}) > 1]
    stated = {kind: any(getattr(f.key, f"{kind}_id") for f in audit.fields) for kind in ("patient", "smear")}
    counts = {k: sum(s.kind == k for s in straddlers) if stated[k] else None for k in stated}
    return Finding(
        sets=tuple(d.name for d in audit.datasets),
        clean=not (leaks or straddlers or audit.two_labels or audit.unreadable or audit.changed),
        leaks=len(leaks),
        patients=counts["patient"],
        smears=counts["smear"],
        two_labels=len(audit.two_labels),
        unreadable=len(audit.unreadable) + len(audit.changed),
        inside=len(inside),
        n_fields=len(audit.fields),
        clusters=() if two else audit.clusters,
    )


def fields_to_drop(audits: Sequence[Audit]) -> dict[str, str]:
    """{file of the data: why} of what must leave training (and validation) so that nothing stands on two sides.

    The first audit is of the data alone: of each cluster, patient and smear only the fields on its highest side stay
    (test before validation before training). The others are against sets that are tested whole: what shows the same
    as one of their pictures, or a patient of theirs, leaves training and validation.
    """
    dropped: dict[str, str] = {}
    for number, audit in enumerate(audits):
        is_own = number == 0
        groups = [(set(c), "shows the same as") for c in connected(audit.leaks)]
        groups += [(_rows_of(audit, s), f"is of a {s.kind} in") for s in audit.straddlers]
        for rows, words in groups:
            places = {_place(audit, row) for row in rows}
            highest = max(places)
            for row in rows:
                side = audit.sides[row]
                leaves = _place(audit, row) < highest if is_own else len({p[0] for p in places}) > 1
                if side.dataset == 0 and leaves and (is_own or side.split in ("train", "val", None)):
                    where = "a later split" if is_own else audit.datasets[1].name
                    dropped.setdefault(audit.fields[row].file, f"{words} {where}")
    return dropped


def without_fields(dataset: Dataset, files: Sequence[str]) -> Dataset:
    """The data set without these files."""
    gone = set(files)
    return replace(dataset, fields=tuple(f for f in dataset.fields if f.file not in gone))


def _place(audit: Audit, row: int) -> tuple[int, int]:
    side = audit.sides[row]
    return side.dataset, _RANK[side.split]


def _rows_of(audit: Audit, straddler) -> set[int]:
    """Rows of a patient's (or smear's) fields."""
    who = (straddler.center, straddler.patient_id)
    return {
        row
        for row, f in enumerate(audit.fields)
        if (f.key.center, f.key.patient_id) == who
        and (straddler.kind == "patient" or f.key.smear_id == straddler.smear_id)
    }

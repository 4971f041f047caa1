"""The audit of a data set, alone or against another one: what it found, as one record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.dataset.audit.duplicates import LEAST_AGREEMENT, Pair, find_duplicates
from leukoscope.dataset.audit.leaks import (
    Side,
    SpelledAlike,
    Straddler,
    TwoLabels,
    are_apart,
    find_drawn_twice,
    find_one_source,
    find_spelled_alike,
    find_straddlers,
    find_two_labels,
)
from leukoscope.dataset.audit.turns import NAMES
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import DataError
from leukoscope.progress import StageProgress, no_stages

AUDIT_VERSION = 1
_CUT = 0.97  # a window with a smaller side is a crop
_BRIGHTER = 0.05
_RESIZED = 0.04


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. Rows count the fields of all audited data sets, one after the other.

    datasets        what was audited: one, or the set and the one it was held against
    fields, sides   all their fields, and where each stands
    pairs           pictures that show the same, the surest first; none with both in the second data set
    clusters        rows connected by such pairs
    straddlers      patients and smears on more than one side
    two_labels      cells under two classes
    unreadable      {row: why}; blank  rows that could only be compared byte by byte
    changed         rows whose file is no longer the one that the manifest describes
    spelled_alike   patients whose ids differ in case, spaces or zeros alone: perhaps one, spelled twice
    drawn_twice     (row, cell, cell) of boxes nearly the same: perhaps one cell, drawn twice
    one_source      {class: source} of classes that one source alone shows, of several
    """

    datasets: tuple[Dataset, ...]
    fields: tuple[TruthField, ...]
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    clusters: tuple[tuple[int, ...], ...]
    straddlers: tuple[Straddler, ...]
    two_labels: tuple[TwoLabels, ...]
    unreadable: dict[int, str]
    blank: tuple[int, ...]
    changed: tuple[int, ...]
    spelled_alike: tuple[SpelledAlike, ...] = ()
    drawn_twice: tuple[tuple[int, TruthCell, TruthCell], ...] = ()
    one_source: Mapping[str, str] = field(default_factory=dict)

    def is_across(self, pair: Pair) -> bool:
        """Whether a pair's pictures stand in different splits or data sets."""
        return are_apart(self.sides[pair.first], self.sides[pair.second])

    @property
    def leaks(self) -> tuple[Pair, ...]:
        """The pairs across splits or data sets."""
        return tuple(p for p in self.pairs if self.is_across(p))

    @property
    def is_clean(self) -> bool:
        """Every picture was looked at, none stands on two sides, no patient or smear does, no cell has two labels.
        Duplicates inside one split are no leak."""
        return not (self.leaks or self.straddlers or self.two_labels or self.unreadable or self.changed)

    def path(self, row: int) -> Path:
        """Where a row's picture is."""
        return self.datasets[self.sides[row].dataset].path(self.fields[row])

    def place(self, row: int) -> str:
        """A row in words: its data set where there are two, its split, its file."""
        side = self.sides[row]
        words = [self.datasets[side.dataset].name] if len(self.datasets) > 1 else []
        return " ".join([*words, side.split or "no split", self.fields[row].file])


def audit_dataset(
    dataset: Dataset,
    against: Dataset | None = None,
    *,
    least_agreement: float = LEAST_AGREEMENT,
    seed: int = 0,
    workers: int = 2,
    progress: StageProgress = no_stages,
) -> Audit:
    """Look for what makes a result flatter than it is: duplicates, patients on both sides, cells under two labels.

    A picture that can't be read is listed and the audit goes on; DataError when none can be, or there is none.
    """
    datasets = (dataset,) if against is None else (dataset, against)
    fields = tuple(f for d in datasets for f in d.fields)
    sides = tuple(Side(number, f.split) for number, d in enumerate(datasets) for f in d.fields)
    if not dataset.fields:
        raise DataError(f"data set {dataset.name!r} has no fields: there is nothing to audit")
    paths = [d.path(f) for d in datasets for f in d.fields]
    duplicates = find_duplicates(paths, least_agreement=least_agreement, seed=seed, workers=workers, progress=progress)
    if len(duplicates.unreadable) == len(fields):
        raise DataError(f"none of the {len(fields)} pictures can be read; the first: {duplicates.unreadable[0]}")
    pairs = tuple(p for p in duplicates.pairs if 0 in (sides[p.first].dataset, sides[p.second].dataset))
    touched = {row for p in pairs for row in (p.first, p.second)}
    return Audit(
        datasets=datasets,
        fields=fields,
        sides=sides,
        pairs=pairs,
        clusters=tuple(c for c in duplicates.clusters if touched.intersection(c)),
        straddlers=tuple(s for s in find_straddlers(datasets) if any(side.dataset == 0 for side, _ in s.sides)),
        two_labels=tuple(
            t for t in find_two_labels(fields, pairs) if 0 in (sides[t.first].dataset, sides[t.second].dataset)
        ),
        unreadable=duplicates.unreadable,
        blank=duplicates.blank,
        changed=tuple(row for row, digest in enumerate(duplicates.sha256) if digest and digest != fields[row].sha256),
        spelled_alike=find_spelled_alike(datasets),
        drawn_twice=tuple(t for t in find_drawn_twice(fields) if sides[t[0]].dataset == 0),
        one_source=find_one_source(datasets),
    )


def describe(pair: Pair, first: TruthField, second: TruthField) -> str:
    """How the second picture differs from the first, in words."""
    if pair.is_same_file:
        return "the same file"
    words = [NAMES[pair.turn]] if pair.turn else []
    width, height = (min(max(v, 0.0), 1.0) for v in pair.window[2:])
    sides = (first.height, first.width) if pair.turn & 4 else (first.width, first.height)
    if min(width, height) < _CUT:
        words.append(f"cropped to {100 * width:.0f} × {100 * height:.0f} %")
    elif max(abs(pair.window[0]), abs(pair.window[1])) > 1 - _CUT:
        words.append("moved")
    scale = ((second.width / (sides[0] * width)) * (second.height / (sides[1] * height))) ** 0.5
    if abs(scale - 1) > _RESIZED:
        words.append(f"rescaled to {100 * scale:.0f} %")
    if abs(pair.brightness - 1) > _BRIGHTER:
        change = 100 * abs(pair.brightness - 1)
        words.append(f"{'brighter' if pair.brightness > 1 else 'darker'} by {change:.0f} %")
    return ", ".join(words) or "saved again or photographed again"


def to_dict(audit: Audit) -> dict:
    """Plain types for JSON (`docs/audit.md` has the keys)."""
    return {
        "audit_version": AUDIT_VERSION,
        "datasets": [{"name": d.name, "n_fields": len(d.fields), "fields_sha256": d.sha256()} for d in audit.datasets],
        "clean": audit.is_clean,
        "n_pairs": len(audit.pairs),
        "n_pairs_across": len(audit.leaks),
        "pairs": [_pair_to_dict(audit, p) for p in audit.pairs],
        "clusters": [[_row_to_dict(audit, row) for row in cluster] for cluster in audit.clusters],
        "patients_on_both_sides": [_straddler_to_dict(audit, s) for s in audit.straddlers if s.kind == "patient"],
        "smears_on_both_sides": [_straddler_to_dict(audit, s) for s in audit.straddlers if s.kind == "smear"],
        "two_labels": [
            {
                "first": _row_to_dict(audit, t.first) | {"box": list(t.first_box), "class": t.first_class},
                "second": _row_to_dict(audit, t.second) | {"box": list(t.second_box), "class": t.second_class},
            }
            for t in audit.two_labels
        ],
        "patients_spelled_alike": [
            {"center": s.center, "patient_ids": list(s.patient_ids), "splits": [side.split for side in s.sides]}
            for s in audit.spelled_alike
        ],
        "drawn_twice": [
            _row_to_dict(audit, row) | {"boxes": [list(one.box), list(other.box)], "class": one.class_name}
            for row, one, other in audit.drawn_twice
        ],
        "classes_of_one_source": dict(audit.one_source),
        "unreadable": [_row_to_dict(audit, r) | {"reason": why} for r, why in sorted(audit.unreadable.items())],
        "changed_since_import": [_row_to_dict(audit, row) for row in audit.changed],
        "blank": [_row_to_dict(audit, row) for row in audit.blank],
    }


def _row_to_dict(audit: Audit, row: int) -> dict:
    field, side = audit.fields[row], audit.sides[row]
    return {"dataset": side.dataset, "split": side.split, "field_id": field.key.field_id, "file": field.file}


def _pair_to_dict(audit: Audit, pair: Pair) -> dict:
    return {
        "kind": "same file" if pair.is_same_file else "near duplicate",
        "across": audit.is_across(pair),
        "agreement": round(pair.agreement, 4),
        "difference": describe(pair, audit.fields[pair.first], audit.fields[pair.second]),
        "turn": pair.turn,
        "window": [round(v, 4) for v in pair.window],
        "first": _row_to_dict(audit, pair.first),
        "second": _row_to_dict(audit, pair.second),
    }


def _straddler_to_dict(audit: Audit, straddler: Straddler) -> dict:
    sides = [{"dataset": side.dataset, "split": side.split, "n_fields": n} for side, n in straddler.sides]
    who = {"center": straddler.center, "patient_id": straddler.patient_id}
    return who | ({"smear_id": straddler.smear_id} if straddler.kind == "smear" else {}) | {"sides": sides}

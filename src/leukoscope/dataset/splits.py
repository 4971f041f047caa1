"""Splits that a result can be believed on: no patient on both sides, folds disjoint by subject, no copies across.

Pictures of one patient are alike; a split by picture lets a model recognise the patient and flatters the result.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from leukoscope.dataset.manifest import SPLITS, Dataset, TruthField
from leukoscope.errors import DataError


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: which subjects are trained on and which are tested on; together they are all subjects."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def patient_of(field: TruthField) -> str:
    """The patient a field is of; DataError where the source does not say ("" in the manifest)."""
    if not field.key.patient_id:
        raise DataError(
            f"field {field.key.field_id} states no patient: expected a patient_id, so that no patient is on both "
            f"sides; import again with --patients, or split --by smear, center or cluster and say so"
        )
    return field.key.patient_id


def split_by_patient(
    dataset: Dataset, shares: dict[str, float], *, seed: int, group: Callable[[TruthField], str] = patient_of
) -> Dataset:
    """The same fields with `split` set so that each group lies in one split only.

    shares  split -> its share of the fields, summing to 1, for example {"train": 0.7, "val": 0.1, "test": 0.2}
    group   what must stay together; the patient unless you say otherwise
    Groups are dealt one by one, large ones rather first, each to the split that is furthest below its share; every
    split with a share gets at least one. Raises DataError when there are fewer groups than splits.
    """
    unknown = [s for s in shares if s not in SPLITS]
    if unknown or not shares or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) <= 0:
        raise DataError(f"shares must give some of {', '.join(SPLITS)} a positive share that sums to 1, got {shares}")
    members = _groups(dataset, group)
    if len(members) < len(shares):
        raise DataError(
            f"data set {dataset.name!r} has {len(members)} groups: can't fill {len(shares)} splits without sharing one"
        )
    order = _dealing_order(members, seed)
    total, held, split_of = len(dataset.fields), dict.fromkeys(shares, 0), {}
    for position, name in enumerate(order):
        empty = [s for s in shares if not held[s]]
        # The last groups go to splits that would otherwise stay empty.
        choice = empty if len(order) - position <= len(empty) else list(shares)
        chosen = max(choice, key=lambda s: shares[s] - held[s] / total)
        split_of[name] = chosen
        held[chosen] += len(members[name])
    return replace(dataset, fields=tuple(replace(f, split=split_of[group(f)]) for f in dataset.fields))


def folds_by_subject(
    dataset: Dataset,
    n_folds: int,
    *,
    seed: int,
    group: Callable[[TruthField], str] = patient_of,
    stratum: Callable[[TruthField], str] | None = None,
) -> tuple[Fold, ...]:
    """`n_folds` folds disjoint by subject: every subject is tested in exactly one.

    stratum  what each fold must hold some of, a property of the subject (for C-NMC: healthy or leukaemic, see
             `blast_stratum`): every fold then tests at least one subject of each stratum
    Within a stratum subjects are dealt one by one, large ones rather first, to the fold with the fewest fields of it,
    so that folds are of like size. Raises DataError when a stratum has fewer subjects than there are folds.
    """
    if n_folds < 2:
        raise DataError(f"folds: expected at least 2, got {n_folds}")
    members = _groups(dataset, group)
    strata: dict[str, dict[str, list[TruthField]]] = defaultdict(dict)
    for name, fields in members.items():
        kinds = {stratum(f) for f in fields} if stratum else {""}
        if len(kinds) > 1:
            raise DataError(f"subject {name} is in strata {', '.join(sorted(kinds))}: expected one a subject")
        strata[kinds.pop()][name] = fields
    tests: list[list[str]] = [[] for _ in range(n_folds)]
    for kind in sorted(strata):
        if len(strata[kind]) < n_folds:
            label = f" of stratum {kind!r}" if kind else ""
            raise DataError(
                f"data set {dataset.name!r} has {len(strata[kind])} subjects{label}: "
                f"can't make {n_folds} folds that each test one"
            )
        held = [0] * n_folds
        for name in _dealing_order(strata[kind], seed):
            fold = min(range(n_folds), key=lambda i: (held[i], len(tests[i]), i))
            tests[fold].append(name)
            held[fold] += len(strata[kind][name])
    everyone = sorted(members)
    return tuple(Fold(tuple(n for n in everyone if n not in test), tuple(sorted(test))) for test in tests)


def blast_stratum(field: TruthField) -> str:
    """The stratum for sets of single cells such as C-NMC: "leukaemic" for a field with a blast, else "healthy"."""
    blasts = ("blast", "lymphoblast", "myeloblast", "monoblast", "apl_promyelocyte")
    return "leukaemic" if any(c.class_name in blasts for c in field.cells) else "healthy"


def drop_copies(train: Dataset, *others: Dataset) -> Dataset:
    """`train` without the pictures that the other data sets (or splits) hold too, and each of its own pictures once."""
    seen = {f.sha256 for other in others for f in other.fields}
    kept = []
    for field in train.fields:
        if field.sha256 not in seen:
            seen.add(field.sha256)
            kept.append(field)
    return replace(train, fields=tuple(kept))


def _groups(dataset: Dataset, group: Callable[[TruthField], str]) -> dict[str, list[TruthField]]:
    members: dict[str, list[TruthField]] = defaultdict(list)
    for field in dataset.fields:
        members[group(field)].append(field)
    return members


def _dealing_order(members: dict[str, list[TruthField]], seed: int) -> list[str]:
    """Large groups rather first, so that small ones even out what is left; the seed alone stirs the order."""
    rng = random.Random(seed)
    weight = {name: len(members[name]) * rng.uniform(0.5, 1.0) for name in sorted(members)}
    return sorted(weight, key=lambda n: (-weight[n], n))

"""Splits, folds and centres left out, by patient, smear, centre or cluster of near duplicates.

What is of one group stays on one side; within that, each side gets its share of every class as far as groups allow,
and the report says how far that was.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from leukoscope.dataset.dealing import class_of, deal
from leukoscope.dataset.manifest import SPLITS, Dataset, TruthField, write_dataset
from leukoscope.dataset.splits import patient_of
from leukoscope.errors import DataError, InputError
from leukoscope.files import write_json

BY = ("patient", "smear", "center", "cluster")
TEST, VAL = 0.15, 0.2  # 85:15, and 80:20 inside the 85 (the PCM paper's)
REPORT_FILE = "split-report.json"

Group = Callable[[TruthField], str]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """How a split was made and what came of it; also written as split-report.json.

    by, n_groups     what stays together, and how many of them there are
    method           "shares", "folds", "leave one centre out" or "file"
    asked            split -> the share of fields asked for (empty where a file states the split)
    seed             fixes the deal (None where nothing was dealt)
    fields, groups   split -> fields, groups in it
    class_shares     class -> split -> the share of that class's cells in it: compare with `asked`
    replaced         split -> fields, as the manifest had it before
    notes            what a reader of a result on this split must know
    fields_sha256    the digest of the data set with this split
    """

    by: str
    n_groups: int
    method: str
    asked: dict[str, float]
    seed: int | None
    fields: dict[str, int]
    groups: dict[str, int]
    class_shares: dict[str, dict[str, float]]
    replaced: dict[str, int]
    notes: tuple[str, ...]
    fields_sha256: str


def split_dataset(
    dataset: Dataset,
    *,
    by: str = "patient",
    test: float = TEST,
    val: float = VAL,
    seed: int = 0,
    clusters: Sequence[Sequence[int]] = (),
) -> tuple[Dataset, SplitReport]:
    """The same fields with new splits, and how they came about.

    test      share of the fields for the test split
    val       share of *the rest* for the validation split; what is left then is for training. 0: no such split
    clusters  rows that show the same (`audit.find_duplicates`): what stays together with by="cluster"
    Raises DataError when there are fewer groups than splits, or a field doesn't state what it is grouped by.
    """
    shares = _shares(test, val)
    group = _grouping(dataset, by, clusters)
    split_of = deal(_members(dataset.fields, group), shares, seed=seed, name=dataset.name)
    made = replace(dataset, fields=tuple(replace(f, split=split_of[group(f)]) for f in dataset.fields))
    return made, _report(dataset, made, group, by=by, method="shares", asked=shares, seed=seed)


def split_folds(
    dataset: Dataset,
    n_folds: int,
    *,
    by: str = "patient",
    val: float = VAL,
    seed: int = 0,
    clusters: Sequence[Sequence[int]] = (),
) -> list[tuple[str, Dataset, SplitReport]]:
    """`n_folds` times (name, data set, report): every group is tested in exactly one; `val` is a share of the rest."""
    if n_folds < 2:
        raise InputError(f"folds: expected at least 2, got {n_folds}")
    group = _grouping(dataset, by, clusters)
    names = [f"fold-{i + 1}" for i in range(n_folds)]
    fold_of = deal(_members(dataset.fields, group), dict.fromkeys(names, 1 / n_folds), seed=seed, name=dataset.name)
    made = []
    for name in names:
        tested = _with_test(dataset, lambda f, name=name: fold_of[group(f)] == name, group, val=val, seed=seed)
        asked = _shares(1 / n_folds, val)
        made.append((name, tested, _report(dataset, tested, group, by=by, method="folds", asked=asked, seed=seed)))
    return made


def leave_one_center_out(
    dataset: Dataset, *, by: str = "patient", val: float = VAL, seed: int = 0, clusters: Sequence[Sequence[int]] = ()
) -> list[tuple[str, Dataset, SplitReport]]:
    """(centre, data set, report) for every centre: it alone is tested; `val` of the others' groups are for validation.

    A group (patient) of two centres would stand on both sides: DataError. Patients are told by centre and id here.
    """
    within = _grouping(dataset, by, clusters)
    centers = sorted({_center_of(f) for f in dataset.fields})
    if len(centers) < 2:
        raise DataError(
            f"data set {dataset.name!r} states one centre ({', '.join(centers)}): leaving one out needs two or more"
        )

    def group(field: TruthField) -> str:
        return within(field) if by == "cluster" else f"{_center_of(field)}\0{within(field)}"

    made = []
    for center in centers:
        tested = _with_test(dataset, lambda f, center=center: f.key.center == center, group, val=val, seed=seed)
        straddling = _on_both_sides(tested, group)
        if straddling:
            raise DataError(
                f"{len(straddling)} clusters of near duplicates stand in more than one centre: "
                f"leaving one out would not part them; run `leukoscope dataset audit` and remove the copies"
            )
        report = _report(dataset, tested, group, by=by, method="leave one centre out", asked={}, seed=seed)
        made.append((center, tested, report))
    return made


def write_split(dataset: Dataset, report: SplitReport, out: str | Path) -> None:
    """Write the manifest with its splits, and split-report.json beside it."""
    out = Path(out)
    write_dataset(dataset, out)
    write_json(out / REPORT_FILE, asdict(report))


def report_of_file(before: Dataset, made: Dataset, notes: tuple[str, ...]) -> SplitReport:
    """The report of a split that a file states: grouped by patient where patients are stated, else by field."""
    is_stated = all(f.key.patient_id for f in made.fields)
    group: Group = patient_of if is_stated else (lambda f: f.key.field_id)
    report = _report(before, made, group, by="file", method="file", asked={}, seed=None)
    return replace(report, notes=(*report.notes, *notes))


def _shares(test: float, val: float) -> dict[str, float]:
    for name, share in (("test", test), ("val", val)):
        if not 0 <= share < 1:
            raise InputError(f"{name} must be a share from 0 to below 1, got {share}")
    shares = {"train": (1 - test) * (1 - val), "val": (1 - test) * val, "test": test}
    return {split: share for split, share in shares.items() if share > 0}


def _grouping(dataset: Dataset, by: str, clusters: Sequence[Sequence[int]]) -> Group:
    """What a field's group is called."""
    if by not in BY:
        raise InputError(f"splits are made by one of {', '.join(BY)}, got {by!r}")
    if not dataset.fields:
        raise DataError(f"data set {dataset.name!r} has no fields: there is nothing to split")
    if by == "cluster":
        name = {dataset.fields[row].key: f"cluster {min(cluster)}" for cluster in clusters for row in cluster}
        return lambda field: name.get(field.key, f"field {field.key.field_id}")
    return {"patient": patient_of, "smear": _smear_of, "center": _center_of}[by]


def _smear_of(field: TruthField) -> str:
    key = field.key
    if not key.smear_id:
        raise DataError(
            f"field {key.field_id} states no smear: expected a smear_id; import again with --patients, or split by "
            f"something else"
        )
    return "\0".join((key.center, key.patient_id, key.smear_id))


def _center_of(field: TruthField) -> str:
    if not field.key.center:
        raise DataError(
            f"field {field.key.field_id} states no centre: expected one; import again with --patients (column center)"
        )
    return field.key.center


def _members(fields: Sequence[TruthField], group: Group) -> dict[str, list[TruthField]]:
    members: dict[str, list[TruthField]] = defaultdict(list)
    for field in fields:
        members[group(field)].append(field)
    return members


def _with_test(
    dataset: Dataset, is_test: Callable[[TruthField], bool], group: Group, *, val: float, seed: int
) -> Dataset:
    """The data set with these fields as test and the rest dealt to train and val."""
    rest = [f for f in dataset.fields if not is_test(f)]
    split_of = deal(_members(rest, group), _shares(0, val), seed=seed, name=f"{dataset.name} without its test part")
    fields = tuple(replace(f, split="test" if is_test(f) else split_of[group(f)]) for f in dataset.fields)
    return replace(dataset, fields=fields)


def _on_both_sides(dataset: Dataset, group: Group) -> list[str]:
    sides = defaultdict(set)
    for field in dataset.fields:
        sides[group(field)].add(field.split)
    return sorted(g for g, splits in sides.items() if len(splits) > 1)


def _report(
    before: Dataset, made: Dataset, group: Group, *, by: str, method: str, asked: dict[str, float], seed: int | None
) -> SplitReport:
    splits = [s for s in SPLITS if any(f.split == s for f in made.fields)]
    by_class: dict[str, Counter[str]] = defaultdict(Counter)
    for field in made.fields:
        for cell in field.cells:
            by_class[class_of(cell)][field.split] += 1
    return SplitReport(
        by=by,
        n_groups=len({group(f) for f in made.fields}),
        method=method,
        asked={s: round(share, 6) for s, share in asked.items()},
        seed=seed,
        fields={s: sum(f.split == s for f in made.fields) for s in splits},
        groups={s: len({group(f) for f in made.fields if f.split == s}) for s in splits},
        class_shares={name: {s: round(n[s] / n.total(), 4) for s in splits} for name, n in sorted(by_class.items())},
        replaced=dict(sorted(Counter(f.split or "none" for f in before.fields).items())),
        notes=_notes(made, by),
        fields_sha256=made.sha256(),
    )


def _notes(made: Dataset, by: str) -> tuple[str, ...]:
    """What the grouping does not rule out."""
    stated = [f for f in made.fields if f.key.patient_id]
    straddling = _on_both_sides(replace(made, fields=tuple(stated)), lambda f: f"{f.key.center}\0{f.key.patient_id}")
    notes = []
    if straddling:
        notes.append(f"{len(straddling)} patients stand in more than one split")
    if len(stated) < len(made.fields):
        kept = (
            "near duplicates are kept together, patients can't be" if by == "cluster" else "patients can't be checked"
        )
        n = len(made.fields) - len(stated)
        notes.append(f"{n} of {len(made.fields)} fields state no patient: {kept}; a result may be flattered by that")
    elif by == "cluster":
        notes.append("patients are stated, and the split was made by near duplicates instead: prefer --by patient")
    return tuple(notes)

"""Annotated cells as an array of crops: what every crop classifier trains on and is tested on.

Crops are cut by the functions that analysis uses, so a network sees the same picture in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError, TaxonomyError
from leukoscope.models.bundle import CropRule
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy, nearest_class
from leukoscope.train.crops.cut import Cut, cut_field, white_cells

PAPER_PAD_PX = 50.0  # PCM, section 2.3.2
UNKNOWN = -1
UNITS = ("patient", "cluster", "photograph")


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """Cells, row-aligned.

    crops          (N, S, S, 3) uint8 RGB
    labels         (N,) int64 columns of `taxonomy`, -1 for a cell whose class it has not
    groups         (N,) str: what must not stand on both sides of a split, and what intervals leave out in turn
    unit           what a group is: "patient", "cluster" (of near duplicates) or "photograph"
    class_names    (N,) str: the manifest's class, "" where none is stated
    files, boxes   (N,) str and (N, 4) float64: where each crop comes from
    rule           how crops were cut; `white_balance`: the field was balanced first
    sources        what was read: name, digest and licence of each data set, for the run's record
    extras         further row-aligned arrays, for example masks (N, S, S) uint8
    """

    crops: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    unit: str
    taxonomy: Taxonomy
    class_names: np.ndarray
    files: np.ndarray
    boxes: np.ndarray
    rule: CropRule
    white_balance: bool = False
    sources: tuple[dict, ...] = ()
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.crops)
        if self.crops.ndim != 4 or self.crops.shape[3] != 3 or self.crops.dtype != np.uint8:
            raise DataError(f"crops must be uint8 (N, S, S, 3), got {self.crops.dtype} {self.crops.shape}")
        columns = {k: getattr(self, k) for k in ("labels", "groups", "class_names", "files", "boxes")} | self.extras
        odd = [f"{name} {len(values)}" for name, values in columns.items() if len(values) != n]
        if odd:
            raise DataError(f"a crop set's columns must have a row a crop: {n} crops, but {', '.join(odd)}")
        if self.unit not in UNITS:
            raise DataError(f"a crop set's unit must be one of {', '.join(UNITS)}, got {self.unit!r}")
        if n and not (UNKNOWN <= self.labels.min() and self.labels.max() < len(self.taxonomy.names)):
            raise DataError(f"labels must lie in -1 to {len(self.taxonomy.names) - 1}")

    def __len__(self) -> int:
        return len(self.crops)

    def subset(self, rows: np.ndarray) -> CropSet:
        """Some rows, by number or by (N,) bool, in the order given."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        columns = ("crops", "labels", "groups", "class_names", "files", "boxes")
        chosen = {name: getattr(self, name)[rows] for name in columns}
        return replace(self, **chosen, extras={k: v[rows] for k, v in self.extras.items()})

    def typed(self) -> CropSet:
        """The rows whose class the taxonomy has."""
        return self if (self.labels >= 0).all() else self.subset(self.labels >= 0)

    def counts(self) -> dict[str, int]:
        """Cells of each class of the taxonomy, and of none ("" last, where there are any)."""
        n = np.bincount(self.labels + 1, minlength=len(self.taxonomy.names) + 1)
        named = dict(zip(self.taxonomy.names, n[1:].tolist(), strict=True))
        return named | ({"": int(n[0])} if n[0] else {})

    def sha256(self) -> str:
        """Digest over crops, labels and groups: names what a network saw."""
        digest = hashlib.sha256()
        for part in (self.crops, self.labels.astype(np.int64), np.char.encode(self.groups.astype(str), "utf-8")):
            digest.update(np.ascontiguousarray(part).data if part.dtype.kind != "S" else b"\0".join(part.tolist()))
        return digest.hexdigest()


def read_crop_set(
    datasets: Dataset | Sequence[Dataset],
    *,
    taxonomy: Taxonomy,
    size: int = 224,
    pad_px: float = PAPER_PAD_PX,
    rule: CropRule | None = None,
    split: str | None = None,
    white_balance: bool = False,
    clusters: Sequence[Sequence[int]] = (),
    masks: bool = False,
    progress: Progress = no_progress,
) -> CropSet:
    """Every white cell of one or several data sets, cut out.

    size, pad_px  of the crop rule (PCM: 224 px, 50 px on every side); `rule` replaces both
    split         only the fields of this split
    clusters      rows of the (one) data set's fields that show the same (`audit.find_duplicates`): they make a group
                  where no patients are stated
    masks         also extras["masks"] (N, S, S) uint8: 1 inside a cell's contour, 0 for cells without one
    A class that the taxonomy lacks counts as the nearest coarser one that it has, else as unknown (label -1).
    DataError where a picture can't be read or no cell is left.
    """
    several = [datasets] if isinstance(datasets, Dataset) else list(datasets)
    if clusters and len(several) != 1:
        raise DataError("clusters name rows of one data set's fields: read the sets one by one and join_crop_sets them")
    rule = rule or CropRule(size=size, pad_px=pad_px)
    chosen = [(d, f) for d in several for f in d.fields if (split is None or f.split == split) and white_cells(f)]
    if not chosen:
        sets = ", ".join(d.name for d in several)
        raise DataError(f"no white cells in {sets}" + (f", split {split}" if split else "") + ": nothing to cut out")
    unit, groups = _groups(several, chosen, clusters)
    parts: list[Cut] = []
    for done, (dataset, truth) in enumerate(chosen, 1):
        parts.append(cut_field(dataset, truth, rule, white_balance=white_balance, masks=masks))
        progress(done, len(chosen))
    cells = [c for p in parts for c in p.cells]
    names = [c.class_name for c in cells]
    return CropSet(
        crops=np.concatenate([p.crops for p in parts]),
        labels=np.array([_column(n, taxonomy) for n in names], np.int64),
        groups=np.repeat(np.array(groups), [len(p.cells) for p in parts]),
        unit=unit,
        taxonomy=taxonomy,
        class_names=np.array([n or "" for n in names]),
        files=np.repeat(np.array([f.file for _, f in chosen]), [len(p.cells) for p in parts]),
        boxes=np.array([c.box for c in cells], np.float64),
        rule=rule,
        white_balance=white_balance,
        sources=tuple(_source(d, split) for d in several),
        extras={"masks": np.concatenate([p.masks for p in parts])} if masks else {},
    )


def with_class_sets(crops: CropSet, class_sets: dict[str, Sequence[str]]) -> CropSet:
    """The crops with extras["allowed"] (N, C) uint8, what each may be: its class, or for a class that `class_sets`
    names the taxonomy's classes listed there, the first of which becomes its label. TaxonomyError for others."""
    names = crops.taxonomy.names
    unknown = sorted({m for members in class_sets.values() for m in members} - set(names))
    if unknown:
        raise TaxonomyError(
            f"class_sets names {', '.join(unknown)}, which taxonomy {crops.taxonomy.name!r} has not: {', '.join(names)}"
        )
    labels = crops.labels.copy()
    allowed = np.zeros((len(crops), len(names)), np.uint8)
    allowed[np.flatnonzero(labels >= 0), labels[labels >= 0]] = 1
    for name, members in class_sets.items():
        columns, rows = [names.index(m) for m in members], np.flatnonzero(crops.class_names == name)
        if len(columns) and len(rows):
            allowed[rows] = 0
            allowed[np.ix_(rows, columns)] = 1
            labels[rows] = columns[0]
    return replace(crops, labels=labels, extras=crops.extras | {"allowed": allowed})


def of_one_class(crops: CropSet) -> CropSet:
    """The crops that can be of one class only: what validates."""
    allowed = crops.extras.get("allowed")
    return crops if allowed is None else crops.subset(allowed.sum(1) == 1)


def join_crop_sets(sets: Sequence[CropSet]) -> CropSet:
    """Several sets cut alike, one after another; groups of different sets stay apart."""
    first = sets[0]
    for other in sets[1:]:
        same = ("taxonomy", "rule", "white_balance", "unit")
        odd = [k for k in same if getattr(other, k) != getattr(first, k)]
        odd += ["extras"] if set(other.extras) != set(first.extras) else []
        if odd:
            raise DataError(f"crop sets can't be joined: they differ in {', '.join(odd)}")
    columns = ("crops", "labels", "class_names", "files", "boxes")
    joined = {k: np.concatenate([getattr(s, k) for s in sets]) for k in columns}
    groups = np.concatenate([np.char.add(f"{i}:", s.groups.astype(str)) for i, s in enumerate(sets)])
    extras = {k: np.concatenate([s.extras[k] for s in sets]) for k in first.extras}
    sources = tuple(entry for s in sets for entry in s.sources)
    return replace(first, **joined, groups=groups, extras=extras, sources=sources)


def split_by_group(crops: CropSet, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (rest, held out): about `share` of every class's cells held out, no group on both sides.

    A group goes by its most frequent class. A class of one group stays in the rest; of two or more, each side gets one.
    """
    if not 0 < share < 1:
        raise DataError(f"the share held out must lie between 0 and 1, got {share}")
    rng = np.random.default_rng(seed)
    _, place = np.unique(crops.groups, return_inverse=True)
    members = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1])
    of_class: dict[int, list[np.ndarray]] = {}
    for rows in members:
        label = int(np.bincount(crops.labels[rows] + 1).argmax()) - 1
        of_class.setdefault(label, []).append(rows)
    held: list[np.ndarray] = []
    for label in sorted(of_class):
        groups = of_class[label]
        wanted = share * sum(len(rows) for rows in groups)
        taken = 0
        for i in rng.permutation(len(groups))[: len(groups) - 1]:
            if taken and taken + len(groups[i]) / 2 > wanted:
                continue
            held.append(groups[i])
            taken += len(groups[i])
            if taken >= wanted:
                break
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(crops)), out), out


def taxonomy_without(taxonomy: Taxonomy, names: Sequence[str]) -> Taxonomy:
    """The taxonomy less some classes, for example "other" before the second stage (PCM, section 2.2)."""
    unknown = [n for n in names if n not in taxonomy.names]
    if unknown:
        raise TaxonomyError(f"taxonomy {taxonomy.name!r} has no {', '.join(unknown)} to leave out")
    if not names:
        return taxonomy

    def rest(members: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(m for m in members if m not in names)

    return Taxonomy(
        name=f"{taxonomy.name} without {', '.join(names)}",
        names=rest(taxonomy.names),
        counted=rest(taxonomy.counted),
        blasts=rest(taxonomy.blasts),
        artefacts=rest(taxonomy.artefacts),
        composites={k: rest(v) for k, v in taxonomy.composites.items() if rest(v)},
        nucleated_red=rest(taxonomy.nucleated_red),
        megakaryocytes=rest(taxonomy.megakaryocytes),
        myeloid_blasts=rest(taxonomy.myeloid_blasts),
        lymphoid_blasts=rest(taxonomy.lymphoid_blasts),
        lineage_known=taxonomy.lineage_known and bool(rest(taxonomy.blasts)),
    )


def _column(class_name: str | None, taxonomy: Taxonomy) -> int:
    nearest = None if class_name is None else nearest_class(class_name, taxonomy.names)
    return UNKNOWN if nearest is None else taxonomy.index(nearest)


def _groups(
    datasets: list[Dataset], chosen: list[tuple[Dataset, TruthField]], clusters: Sequence[Sequence[int]]
) -> tuple[str, list[str]]:
    """The unit, and each chosen field's group."""
    fields = [f for _, f in chosen]
    if all(f.key.patient_id for f in fields) and len({f.key.patient_id for f in fields}) > 1:
        return "patient", [f"{f.key.center}/{f.key.patient_id}" for f in fields]
    if clusters:
        name = {datasets[0].fields[row].key: f"cluster {min(rows)}" for rows in clusters for row in rows}
        return "cluster", [name.get(f.key, f.file) for f in fields]
    # Copies of a file are one photograph, whatever they are called.
    return "photograph", [f.sha256 for f in fields]


def _source(dataset: Dataset, split: str | None) -> dict:
    entry = {"name": dataset.name, "sha256": dataset.sha256(), "licence": dataset.licence}
    return entry | ({"split": split} if split else {})

"""Which of a model's classes a set's labels are: one common label space, and what has no place in it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leukoscope.dataset.detection import BACKGROUND, class_column
from leukoscope.dataset.manifest import Dataset
from leukoscope.taxonomy import Taxonomy, nearest_class

UNTYPED = "(no type stated)"


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """A set whose classes are a taxonomy's.

    dataset     cells with the taxonomy's class names only
    ignored     {file: boxes (N, 4)} of cells that the taxonomy has no class for: neither truth nor background
    unmapped    {their class: cells}
    background  {class: cells} annotated but not asked for (red cells, platelets)
    read_as     {class: the taxonomy's class}, where the names differ
    """

    dataset: Dataset
    ignored: dict[str, np.ndarray]
    unmapped: dict[str, int]
    background: dict[str, int]
    read_as: dict[str, str]

    def without_ignored(self) -> Dataset:
        """The fields that show no ignored cell: what a detector may learn from (unboxed it would be background)."""
        return replace(self.dataset, fields=tuple(f for f in self.dataset.fields if f.file not in self.ignored))


def map_dataset(dataset: Dataset, taxonomy: Taxonomy) -> Mapped:
    """The set in the taxonomy's classes (`dataset.detection.class_column` says which is which)."""
    unmapped: Counter[str] = Counter()
    background: Counter[str] = Counter()
    ignored, read_as, fields = {}, {}, []
    for field in dataset.fields:
        cells, strange = [], []
        for cell in field.cells:
            column = class_column(cell.class_name, taxonomy)
            if column == -1:
                background[str(cell.class_name)] += 1
            elif column is None:
                unmapped[cell.class_name or UNTYPED] += 1
                strange.append(cell.box)
            else:
                name = taxonomy.names[column]
                if name != (cell.class_name or UNTYPED):
                    read_as[cell.class_name or UNTYPED] = name
                cells.append(replace(cell, class_name=name))
        if strange:
            ignored[field.file] = np.array(strange, np.float64).reshape(-1, 4)
        fields.append(replace(field, cells=tuple(cells)))
    order = {n: i for i, n in enumerate(taxonomy.names)}
    read_as = dict(sorted(read_as.items(), key=lambda item: order[item[1]]))
    return Mapped(replace(dataset, fields=tuple(fields)), ignored, dict(unmapped), dict(background), read_as)


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """The label space that a model and a set have in common.

    labels    names, in the model's order
    of_class  {the set's class: its row in labels}
    columns   (C,) row in labels of each of the model's classes; -1 for classes that the set lacks: a call there is
              an error, and the class is no part of a mean
    unmapped  {the set's class: cells} that the model can't be asked for
    absent    the model's classes that the set lacks
    """

    labels: tuple[str, ...]
    of_class: dict[str, int]
    columns: np.ndarray
    unmapped: dict[str, int]
    absent: tuple[str, ...]

    def summed(self, probs: np.ndarray) -> np.ndarray:
        """(N, L + 1): probabilities (N, C) summed by label, the last column outside the set's classes."""
        total = np.zeros((len(probs), len(self.labels) + 1))
        for column, label in enumerate(self.columns):
            total[:, label] += probs[:, column]  # -1 is the last column
        return total

    def taxonomy(self, name: str) -> Taxonomy:
        """The common labels as a taxonomy of their own, all counted."""
        return Taxonomy(name=name, names=self.labels, counted=self.labels)


def map_labels(names: Sequence[str], stated: Iterable[str | None]) -> LabelMap:
    """The common label space of a model's classes and the class of every cell of a set.

    A set's class finer than the model's is read as the model's nearest. One coarser than the model's gathers them (a
    "neutrophil" is a band or a segmented one), unless the set states the finer ones too: then it can't be judged.
    """
    names = tuple(names)
    counts = Counter(n for n in stated if n not in BACKGROUND)
    direct = {n: nearest_class(n, names) for n in counts if n is not None}
    used = {m for m in direct.values() if m is not None}
    label_of = {m: m for m in used}  # the model's class -> label
    of_class = {n: m for n, m in direct.items() if m is not None}
    unmapped = {UNTYPED: counts[None]} if counts[None] else {}
    for coarse in (n for n, m in direct.items() if m is None):
        finer = [m for m in names if nearest_class(m, (coarse,)) == coarse]
        if finer and coarse != "white_cell" and not set(finer) & set(label_of):
            label_of |= dict.fromkeys(finer, coarse)
            of_class[coarse] = coarse
        else:
            unmapped[coarse] = counts[coarse]
    labels = tuple(dict.fromkeys(label_of[m] for m in names if m in label_of))
    columns = np.array([labels.index(label_of[m]) if m in label_of else -1 for m in names])
    absent = tuple(m for m in names if m not in label_of)
    return LabelMap(labels, {n: labels.index(label) for n, label in of_class.items()}, columns, unmapped, absent)

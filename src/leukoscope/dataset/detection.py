"""A data set as a detector sees it: which column of a taxonomy each annotated object is, which is background."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError, TaxonomyError
from leukoscope.taxonomy import Taxonomy, nearest_class, read_taxonomy

BACKGROUND = ("red_cell", "platelet")  # annotated in some sets; no detector here is asked for them
NO_CELL = ("artefact", "smudge_cell", "not_identifiable", "other")  # PCM, Appendix A: what "Other" holds

# PCM, section 2.2: the binary boxes of the two-stage pipeline.
WBC_OTHER = Taxonomy(name="wbc-other", names=("white_cell", "other"), counted=("white_cell",), artefacts=("other",))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledField:
    """A field with boxes (N, 4) float32 px xyxy and labels (N,) int64, columns of the detector's taxonomy."""

    field: TruthField
    boxes: np.ndarray
    labels: np.ndarray


def detection_taxonomy(name_or_file: str) -> Taxonomy:
    """`read_taxonomy`, which also knows "wbc-other": white cells of any type, and everything else that was boxed."""
    return WBC_OTHER if name_or_file == WBC_OTHER.name else read_taxonomy(name_or_file)


def class_column(class_name: str | None, taxonomy: Taxonomy) -> int | None:
    """The column of a cell, -1 for what is background to a detector, None for what the taxonomy has no place for.

    A class is its nearest ancestor in the taxonomy. Under `WBC_OTHER` every cell is a white cell (erythroblasts too,
    as pbc boxes them) but the kinds in NO_CELL; elsewhere those are "other" where the taxonomy has that.
    """
    if class_name in BACKGROUND:
        return -1
    if taxonomy.names == WBC_OTHER.names:
        return taxonomy.index("other" if class_name in NO_CELL else "white_cell")
    nearest = None if class_name is None else nearest_class(class_name, taxonomy.names)
    if nearest is None and class_name in NO_CELL and "other" in taxonomy.names:
        nearest = "other"
    return None if nearest is None else taxonomy.index(nearest)


def label_fields(dataset: Dataset, taxonomy: Taxonomy, *, leave_out: tuple[str, ...] = ()) -> list[LabelledField]:
    """The fields with their boxes as columns of the taxonomy, in order.

    leave_out  classes (or "unstated") that the taxonomy has no place for: a field that shows one is left out whole,
               for unboxed it would be taught as background
    Raises DataError that names and counts every class without a column, and a field whose box lies outside it.
    """
    unplaced: Counter[str] = Counter()
    result = []
    for field in dataset.fields:
        columns = [class_column(c.class_name, taxonomy) for c in field.cells]
        strange = [c.class_name or "unstated" for c, column in zip(field.cells, columns, strict=True) if column is None]
        unplaced.update(name for name in strange if name not in leave_out)
        if strange:
            continue
        kept = [i for i, column in enumerate(columns) if column >= 0]
        boxes = np.array([field.cells[i].box for i in kept], np.float32).reshape(-1, 4)
        if len(boxes) and (
            (boxes[:, :2] < -0.5).any() or (boxes[:, 2:] > (field.width + 0.5, field.height + 0.5)).any()
        ):
            raise DataError(f"data set {dataset.name!r}, {field.file}: a box lies outside its picture; import it again")
        labels = np.array([columns[i] for i in kept], np.int64)
        result.append(LabelledField(field, boxes, labels))
    if unplaced:
        counted = ", ".join(f"{n} {name}" for name, n in sorted(unplaced.items()))
        raise DataError(
            f"data set {dataset.name!r} has cells that taxonomy {taxonomy.name!r} has no class for: {counted}; "
            f"name them under leave_out (their fields are then not used), or take a taxonomy that has them"
        )
    return result


def counted_columns(taxonomy: Taxonomy) -> list[int]:
    """Columns of the classes that are cells to count; TaxonomyError when there are none."""
    if not taxonomy.counted:
        raise TaxonomyError(f"taxonomy {taxonomy.name!r} counts no class: a detector needs one that is a cell")
    return taxonomy.columns(taxonomy.counted)


def usable_fields(dataset: Dataset, taxonomy: Taxonomy, *, leave_out: tuple[str, ...] = ()) -> Dataset:
    """The data set cut down to the fields that `label_fields` keeps."""
    labelled = label_fields(dataset, taxonomy, leave_out=leave_out)
    return replace(dataset, fields=tuple(f.field for f in labelled))

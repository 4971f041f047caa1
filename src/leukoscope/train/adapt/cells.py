"""A site's cells as a crop set, with what adaptation needs beside the crops."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from leukoscope.classify import diameters_um
from leukoscope.crop import crop_cells
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError, ImageError
from leukoscope.models.bundle import CropRule
from leukoscope.progress import Progress, no_progress
from leukoscope.scale import with_scale
from leukoscope.taxonomy import Taxonomy, nearest_class
from leukoscope.train.classifier.data import NOT_WHITE, read_balanced
from leukoscope.train.crops.data import CropSet
from leukoscope.types import Cells, Field

UNSTATED = (None, "white_cell")


def read_site_cells(
    dataset: Dataset,
    rule: CropRule,
    *,
    taxonomy: Taxonomy,
    keep: Callable[[TruthField], bool] = lambda field: True,
    progress: Progress = no_progress,
) -> CropSet:
    """Every white cell of the fields that `keep` lets through, white-balanced and cut as analysis cuts it.

    Labels are columns of `taxonomy` (its nearest coarser class), -1 for a cell whose class it lacks or nobody stated.
    extras["diameter_um"] (N,) float32 as in analysis, 0 where unknown. Crops are not stain-matched: the network's card
    says whether they should be. DataError where a picture can't be read or no cell is left.
    """
    chosen = [f for f in dataset.fields if keep(f)]
    parts: list[tuple] = []
    for done, truth in enumerate(chosen, 1):
        cells = [c for c in truth.cells if c.class_name not in NOT_WHITE]
        if cells:
            try:
                pixels, masked = read_balanced(dataset.path(truth))
            except ImageError as error:
                raise DataError(f"{dataset.path(truth)}: {error}") from None
            boxes = np.array([c.box for c in cells], np.float64)
            view = with_scale(Field(truth.key, pixels, truth.um_per_px), Cells(truth.key, boxes, np.ones(len(boxes))))
            crops = crop_cells(pixels, boxes, rule, um_per_px=truth.um_per_px, background=0 if masked else 240)
            group = truth.key.patient_id or truth.sha256
            parts.append((crops, diameters_um(view, boxes), boxes, [c.class_name for c in cells], truth.file, group))
        progress(done, len(chosen))
    if not parts:
        raise DataError(
            f"no white cells in {dataset.name}, in none of the {len(chosen)} fields looked at ({_splits(chosen)}): "
            "nothing to adapt to; give a set whose white cells are marked"
        )
    names = [name for part in parts for name in part[3]]
    counts = [len(part[3]) for part in parts]
    has_patients = all(f.key.patient_id for f in chosen)
    return CropSet(
        crops=np.concatenate([p[0] for p in parts]),
        labels=np.array([_column(n, taxonomy) for n in names], np.int64),
        groups=np.repeat(np.array([p[5] for p in parts]), counts),
        unit="patient" if has_patients else "photograph",
        taxonomy=taxonomy,
        class_names=np.array([n or "" for n in names]),
        files=np.repeat(np.array([p[4] for p in parts]), counts),
        boxes=np.concatenate([p[2] for p in parts]),
        rule=rule,
        white_balance=True,
        sources=({"name": dataset.name, "sha256": dataset.sha256(), "licence": dataset.licence},),
        extras={"diameter_um": np.concatenate([p[1] for p in parts])},
    )


def _splits(fields: list[TruthField]) -> str:
    """How many fields each split has, in words."""
    counts = Counter(f"split {f.split}" if f.split else "without a split" for f in fields)
    return ", ".join(f"{n} {of}" for of, n in sorted(counts.items()))


def _column(name: str | None, taxonomy: Taxonomy) -> int:
    nearest = None if name in UNSTATED else nearest_class(name, taxonomy.names)
    return -1 if nearest is None else taxonomy.index(nearest)

"""The fixed segmentation of the study: every field located, outlined and matched to the expert's contours, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.contours import match_contours
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError
from leukoscope.files import write_whole
from leukoscope.images import read_field
from leukoscope.progress import Progress, no_progress
from leukoscope.types import Cells, Field

Find = Callable[[Field], Cells]  # a field's cells, best first, perhaps with contours
Outline = Callable[[Field, Cells], tuple[list[np.ndarray], list[list[np.ndarray]]]]


@dataclass(frozen=True, slots=True, eq=False)
class FieldCells:
    """What segmentation made of one field.

    scores    (N,) of the locator
    contours  N arrays (K, 2) px of the field
    nuclei    N lists of nucleus contours, empty where none was drawn
    truth     (N,) row of the expert's cell, -1 where none matches; iou (N,) of that pair, 0 without one
    missed    (M,) rows of the expert's cells that nothing matches
    """

    scores: np.ndarray
    contours: list[np.ndarray]
    nuclei: list[list[np.ndarray]]
    truth: np.ndarray
    iou: np.ndarray
    missed: np.ndarray


def segment(
    dataset: Dataset, find: Find, outline: Outline, folder: Path, *, match_iou: float, progress: Progress = no_progress
) -> list[FieldCells]:
    """Segment every field into `folder`/NUMBER.npz, those that are not there yet; returns them in the fields' order."""
    folder.mkdir(parents=True, exist_ok=True)
    located = []
    for number, field in enumerate(dataset.fields):
        path = folder / f"{field.sha256[:16]}.npz"
        if not path.is_file():
            write_cells(path, segment_field(dataset, field, find, outline, match_iou=match_iou))
        located.append(read_cells(path))
        progress(number + 1, len(dataset.fields))
    return located


def segment_field(dataset: Dataset, truth: TruthField, find: Find, outline: Outline, *, match_iou: float) -> FieldCells:
    """Find, outline and match the cells of one field. Cells that are found with contours keep them."""
    field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
    cells = find(field)
    contours, nuclei = outline(field, cells) if len(cells) else ([], [])
    if cells.contours is not None:
        contours = list(cells.contours)
    kept = [i for i, c in enumerate(contours) if len(c) >= 3]
    contours, nuclei = [np.asarray(contours[i], np.float32) for i in kept], [nuclei[i] for i in kept]
    matches = match_contours(expert_contours(truth), contours, iou=match_iou)
    row, iou = np.full(len(contours), -1), np.zeros(len(contours))
    row[matches.pairs[:, 1]], iou[matches.pairs[:, 1]] = matches.pairs[:, 0], matches.iou
    return FieldCells(cells.scores[kept], contours, nuclei, row, iou, matches.missed)


def expert_contours(truth: TruthField) -> list[np.ndarray]:
    """The expert's contours of a field; DataError for a cell without one (boxes can't be matched to contours)."""
    bare = [i for i, c in enumerate(truth.cells) if c.contour is None]
    if bare:
        raise DataError(
            f"field {truth.key.field_id}: cell {bare[0]} has no contour; the study needs the expert's contour of every "
            f"cell (polygons in CVAT, COCO or YOLO-seg, or mask pictures)"
        )
    return [np.asarray(c.contour, np.float32) for c in truth.cells]


def write_cells(path: Path, cells: FieldCells) -> None:
    """One npz of plain arrays, put in its place in one step."""
    flat = [c for of_cell in cells.nuclei for c in of_cell]
    with write_whole(path, "wb") as file:
        np.savez_compressed(
            file,
            scores=cells.scores,
            truth=cells.truth,
            iou=cells.iou,
            missed=cells.missed,
            contours=_joined(cells.contours),
            contour_lengths=np.array([len(c) for c in cells.contours], np.int64),
            nuclei=_joined(flat),
            nucleus_lengths=np.array([len(c) for c in flat], np.int64),
            nuclei_per_cell=np.array([len(n) for n in cells.nuclei], np.int64),
        )


def read_cells(path: Path) -> FieldCells:
    """The inverse of `write_cells`."""
    with np.load(path, allow_pickle=False) as held:
        flat = _apart(held["nuclei"], held["nucleus_lengths"])
        ends = np.cumsum(held["nuclei_per_cell"])
        nuclei = [flat[e - n : e] for e, n in zip(ends, held["nuclei_per_cell"], strict=True)]
        contours = _apart(held["contours"], held["contour_lengths"])
        return FieldCells(held["scores"], contours, nuclei, held["truth"], held["iou"], held["missed"])


def segmentation_rows(dataset: Dataset, cells: Sequence[FieldCells]) -> dict[str, dict]:
    """By centre: expert's cells, predicted cells, matched, missed, extra, and the mean IoU of matched ones."""
    rows: dict[str, dict] = {}
    for field, located in zip(dataset.fields, cells, strict=True):
        row = rows.setdefault(field.key.center, {"expert": 0, "predicted": 0, "matched": 0, "iou": 0.0})
        matched = located.truth >= 0
        row["expert"] += len(field.cells)
        row["predicted"] += len(located.contours)
        row["matched"] += int(matched.sum())
        row["iou"] += float(located.iou[matched].sum())
    for row in rows.values():
        row["missed"], row["extra"] = row["expert"] - row["matched"], row["predicted"] - row["matched"]
        row["iou"] = row["iou"] / row["matched"] if row["matched"] else float("nan")
    return rows


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays).astype(np.float32) if arrays else np.zeros((0, 2), np.float32)


def _apart(points: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(points, np.cumsum(lengths)[:-1]) if len(lengths) else []

"""Standardised crops of expert and of predicted contours: one function cuts both, and the analysis's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.crop import padding_px
from leukoscope.crop_contour import contour_frames, crop_by_rule, mask_frames
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.experiments.cblc.cohort import patient_key
from leukoscope.experiments.cblc.segment import FieldCells, Outline, expert_contours
from leukoscope.experiments.cblc.settings import StudyConfig
from leukoscope.geometry import contour_area, contour_box
from leukoscope.images import background_color, read_field, white_balance
from leukoscope.models.bundle import CropRule
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy, nearest_class
from leukoscope.train.crops.data import UNKNOWN, CropSet
from leukoscope.types import Cells

CELL, NUCLEUS = 128, 255  # mask values (train/crops/morphology.py)


def study_rule(config: StudyConfig, size: int) -> CropRule:
    """How the study's crops are cut, and the analysis's; the stain comes later (`crop_files.with_stain`)."""
    if config.crop == "box":
        return CropRule(size=size, pad_fraction=config.pad)
    return CropRule(
        size=size,
        pad_fraction=config.pad,
        center="contour",
        um_per_px=config.target_um_per_px,
        background=config.background,
    )


def mask_cells(
    cells: Cells, nuclei: Sequence[Sequence[np.ndarray]], rule: CropRule, *, um_per_px: float | None
) -> np.ndarray:
    """(N, S, S) uint8 on the frames of `crop_by_rule`: 0 outside, 128 cell, 255 nucleus (where a nucleus was drawn)."""
    if rule.center == "box":
        longer = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(1)
        pad = np.array([padding_px(side, rule, um_per_px=um_per_px) for side in longer])
        frames = np.column_stack([(cells.boxes[:, :2] + cells.boxes[:, 2:]) / 2, longer + 2 * pad])
    else:
        frames = contour_frames(
            cells.contours, size=rule.size, um_per_px=um_per_px, target_um_per_px=rule.um_per_px, pad=rule.pad_fraction
        )
    drawn = np.where(mask_frames([[c] for c in cells.contours], frames, size=rule.size) >= 128, CELL, 0)
    inner = mask_frames(nuclei, frames, size=rule.size) >= 128
    return np.where(inner & (drawn > 0), NUCLEUS, drawn).astype(np.uint8)


def expert_crops(
    dataset: Dataset,
    rule: CropRule,
    taxonomy: Taxonomy,
    *,
    nuclei: Sequence[Sequence[Sequence[np.ndarray]]] | None = None,
    progress: Progress = no_progress,
) -> CropSet:
    """The expert's cells by the expert's contours ("GT" of the paper), with masks.

    nuclei  nucleus contours of each cell of each field; None: none are known, and N:C can't be measured
    """
    parts = []
    for number, field in enumerate(dataset.fields):
        contours = expert_contours(field)
        inner = nuclei[number] if nuclei is not None else [[]] * len(contours)
        parts.append(_cut(dataset, field, rule, contours, inner, np.arange(len(contours))))
        progress(number + 1, len(dataset.fields))
    return _join(dataset, rule, taxonomy, parts)


def predicted_crops(
    dataset: Dataset,
    cells: Sequence[FieldCells],
    rule: CropRule,
    taxonomy: Taxonomy,
    *,
    progress: Progress = no_progress,
) -> CropSet:
    """The predicted cells ("YOLO" of the paper); what is no expert's cell is of the taxonomy's first artefact class."""
    parts = []
    for number, (field, located) in enumerate(zip(dataset.fields, cells, strict=True)):
        parts.append(_cut(dataset, field, rule, located.contours, located.nuclei, located.truth))
        progress(number + 1, len(dataset.fields))
    return _join(dataset, rule, taxonomy, parts)


def matched_cells(crops: CropSet) -> np.ndarray:
    """(N,) bool: cells that are an expert's, of a class that the taxonomy has."""
    return crops.extras["matched"].astype(bool) & (crops.labels >= 0)


def draw_nuclei(
    dataset: Dataset, outline: Outline, *, progress: Progress = no_progress
) -> list[list[list[np.ndarray]]]:
    """Nucleus contours of the expert's cells of each field, as the study's outliner draws them in the cells' boxes."""
    drawn = []
    for number, truth in enumerate(dataset.fields):
        contours = expert_contours(truth)
        nuclei: list[list[np.ndarray]] = []
        if contours:
            field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
            boxes = np.array([contour_box(c) for c in contours])
            _, nuclei = outline(field, Cells(truth.key, boxes, np.ones(len(boxes)), tuple(contours)))
        drawn.append(nuclei)
        progress(number + 1, len(dataset.fields))
    return drawn


def areas_um2(cells: Sequence[FieldCells], dataset: Dataset) -> np.ndarray:
    """(N,) area of each predicted nucleus in µm² (px² where no scale is known), 0 where none was drawn."""
    areas = []
    for field, located in zip(dataset.fields, cells, strict=True):
        scale = (field.um_per_px or 1.0) ** 2
        areas += [scale * sum(contour_area(c) for c in of_cell) for of_cell in located.nuclei]
    return np.array(areas, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    field: TruthField
    crops: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    truth: np.ndarray


def _cut(
    dataset: Dataset,
    field: TruthField,
    rule: CropRule,
    contours: Sequence[np.ndarray],
    nuclei: Sequence[Sequence[np.ndarray]],
    truth: np.ndarray,
) -> _Part:
    if not len(contours):
        empty = np.zeros((0, rule.size, rule.size), np.uint8)
        return _Part(field, empty[..., None].repeat(3, 3), empty, np.zeros((0, 4)), np.zeros(0, np.int64))
    pixels = read_field(dataset.path(field), field.key, um_per_px=field.um_per_px).pixels
    pixels = white_balance(pixels, background_color(pixels))
    boxes = np.array([contour_box(c) for c in contours])
    cells = Cells(field.key, boxes, np.ones(len(boxes)), tuple(contours))
    crops = crop_by_rule(pixels, cells, rule, um_per_px=field.um_per_px)
    masks = mask_cells(cells, nuclei, rule, um_per_px=field.um_per_px)
    return _Part(field, crops, masks, boxes, np.asarray(truth, np.int64))


def _join(dataset: Dataset, rule: CropRule, taxonomy: Taxonomy, parts: Sequence[_Part]) -> CropSet:
    lengths = [len(p.crops) for p in parts]
    names = [_name(p.field, row) for p in parts for row in p.truth]
    column = [
        taxonomy.index(n) if (n := nearest_class(name, taxonomy.names) if name else None) else UNKNOWN for name in names
    ]
    matched = np.concatenate([p.truth for p in parts]) >= 0
    if taxonomy.artefacts:
        column = np.where(matched, column, taxonomy.index(taxonomy.artefacts[0])).tolist()
    return CropSet(
        crops=np.concatenate([p.crops for p in parts]),
        labels=np.array(column, np.int64),
        groups=np.repeat(np.array([patient_key(p.field) for p in parts]), lengths),
        unit="patient",
        taxonomy=taxonomy,
        class_names=np.array(names),
        files=np.repeat(np.array([p.field.file for p in parts]), lengths),
        boxes=np.concatenate([p.boxes for p in parts]),
        rule=rule,
        white_balance=True,
        sources=({"name": dataset.name, "sha256": dataset.sha256(), "licence": dataset.licence},),
        extras={
            "masks": np.concatenate([p.masks for p in parts]),
            "smears": np.repeat(np.array([p.field.key.smear_id for p in parts]), lengths),
            "centers": np.repeat(np.array([p.field.key.center for p in parts]), lengths),
            "matched": matched,
        },
    )


def _name(field: TruthField, row: int) -> str:
    return (field.cells[row].class_name or "") if row >= 0 else ""


def crop_scale(crops: CropSet, dataset: Dataset, rule: CropRule) -> np.ndarray:
    """(N,) micrometres a pixel of each crop; in px of the field where its scale is not known."""
    um_of = {f.file: f.um_per_px for f in dataset.fields}
    um = np.array([um_of[str(f)] or 1.0 for f in crops.files])
    if rule.um_per_px is not None and all(um_of.values()):
        return np.full(len(crops), rule.um_per_px)
    longer = (crops.boxes[:, 2:] - crops.boxes[:, :2]).max(1) if len(crops) else np.zeros(0)
    return longer * (1 + 2 * rule.pad_fraction) / rule.size * um

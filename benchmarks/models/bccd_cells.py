"""bccd's white cells with people's contours (from its masks) and with predicted ones, as crop sets by fold.

Folds are those of outlines.py: by photograph, three. Predicted contours are those of the fold's outliner, which never
saw the photograph's mask, on boxes of the bundled locator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, option
from benchmarks.models.outlines import BCCD_MASKS, N_FOLDS, fold_of  # noqa: F401
from benchmarks.public_sets import import_public
from leukoscope.dataset.manifest import Dataset
from leukoscope.dataset.masks import mask_name, mask_outlines, read_mask_values
from leukoscope.experiments.cblc.crop_files import load_crops, save_crops
from leukoscope.experiments.cblc.crops import expert_crops, predicted_crops
from leukoscope.experiments.cblc.members import Member, measure_morphology, train_member
from leukoscope.experiments.cblc.segment import segment
from leukoscope.experiments.cblc.settings import StudyConfig
from leukoscope.geometry import box_iou, contour_area, contour_box
from leukoscope.models.bundle import CropRule, find_model, read_bundle
from leukoscope.models.runtime import Session
from leukoscope.outline import outline
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet
from leukoscope.train.outliner.data import Outlined, outlines_of_mask

TYPES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")
FIVE = Taxonomy("five-types", TYPES, TYPES)
SIZE, PAD = 72, 0.4  # room around the cell for a neighbour
RULE = CropRule(size=SIZE, pad_fraction=PAD, center="contour")  # no scale is known of these pictures
SEEDS = range(5)
NETWORK = FinetuneConfig(
    name="bccd-cells", arch="efficientnet-lite0", weights="imagenet", taxonomy="five-types", size=SIZE, epochs=12,
    batch_size=24, learning_rate=4e-4, head_rate=3e-3, weight_decay=0.02, frozen_blocks=4, augment="stain",
    colour_strength=0.6, white_balance=True,
)  # fmt: skip
PLAIN = StudyConfig(
    "bccd", second_epochs=4, second_rate=1.5e-4, imbalance=(), center_border=(), morphology_weight=0.0, stain=False,
    beta=0.99, swap_weight=0.5, ring=0.2,
)  # fmt: skip
VARIANTS = {
    "plain": PLAIN,
    "effective number": replace(PLAIN, imbalance=("effective_number",)),
    "focal loss": replace(PLAIN, imbalance=("focal",)),
    "balanced sampling": replace(PLAIN, imbalance=("balanced_sampling",)),
    "centre-border: ring": replace(PLAIN, center_border=("ring",)),
    "centre-border: swap": replace(PLAIN, center_border=("swap",)),
    "morphology": replace(PLAIN, morphology_weight=0.2),
    "all": replace(PLAIN, imbalance=("effective_number",), center_border=("swap",), morphology_weight=0.2),
}


# What the measurements on these cells take.
OPTIONS = (DATA, option("--work", required=True, help="folder for crops and runs; what is there is not made again"))


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Crop sets of one fold: cells by people's contours and by predicted ones, trained on or left out."""

    expert_train: CropSet
    expert_test: CropSet
    predicted_train: CropSet
    predicted_test: CropSet


def load_cells(args: Args, fold: int) -> Cells:
    """The fold's crop sets, made once."""
    work = Path(args.work)
    path = work / f"predicted-{fold}.npz"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        dataset, _ = expert_set(import_public("bccd", args.data, work / "sets"))
        outliner = Session(read_bundle(Path(args.outliners) / f"fold{fold}" / "bundle"))

        def outline_cells(field, cells):
            found = outline(field, cells, outliner)
            return list(found.cells.contours), [list(n) for n in found.nuclei]

        locator = Session(find_model("blood")["locate"])
        found = segment(dataset, locator, outline_cells, work / f"segmented-{fold}", match_iou=0.5)
        predicted = predicted_crops(dataset, found, RULE, FIVE)
        save_crops(path, measure_morphology(_with_folds(predicted, dataset)))
    return Cells(*load_expert(args, fold), *_parts(load_crops(path, FIVE), fold))


def load_expert(args: Args, fold: int) -> tuple[CropSet, CropSet]:
    """The typed cells by people's contours, trained on and left out; made once."""
    path = Path(args.work) / "expert.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset, nuclei = expert_set(import_public("bccd", args.data, path.parent / "sets"))
        expert = expert_crops(dataset, RULE, FIVE, nuclei=nuclei)
        save_crops(path, measure_morphology(_with_folds(expert, dataset)))
    return _parts(load_crops(path, FIVE), fold)


def _parts(crops: CropSet, fold: int) -> tuple[CropSet, CropSet]:
    crops = crops.typed()
    return crops.subset(crops.extras["fold"] != fold), crops.subset(crops.extras["fold"] == fold)


def expert_set(bccd: Dataset) -> tuple[Dataset, list[list[list[np.ndarray]]]]:
    """bccd's white cells with a mask of their own as contours, each photograph its own group; and their nuclei."""
    fields, nuclei = [], []
    for field in bccd.fields:
        path = bccd.image_root / mask_name(field, BCCD_MASKS)
        white = [c for c in field.cells if c.class_name not in ("red_cell", "platelet")]
        if not path.is_file() or not white:
            continue
        cells, inner = [], []
        for row, found in _rows(read_mask_values(path), np.array([c.box for c in white])):
            contour = _largest(found.labels > 0) + found.origin
            parts = [np.array(o) + found.origin for o in mask_outlines(found.labels == 2)]
            cells.append(replace(white[row], contour=tuple(map(tuple, contour)), box=tuple(contour_box(contour))))
            inner.append([p for p in parts if len(p) >= 3])
        key = replace(field.key, patient_id=field.key.field_id)
        fields.append(replace(field, key=key, cells=tuple(cells)))
        nuclei.append(inner)
    return replace(bccd, fields=tuple(fields)), nuclei


def _with_folds(crops: CropSet, dataset: Dataset) -> CropSet:
    fold = {f.file: fold_of(f) for f in dataset.fields}
    return replace(crops, extras=crops.extras | {"fold": np.array([fold[str(f)] for f in crops.files])})


def train_variant(args: Args, cells: Cells, name: str, config: StudyConfig, *, seed: int) -> Member:
    """Both stages (or the first, with second_epochs 0) of one variant and seed; nothing where that is done."""
    folder = Path(args.work) / "runs" / f"seed{seed}" / name.replace(" ", "-").replace(":", "")
    return train_member(
        config,
        replace(NETWORK, seed=seed),
        folder,
        expert=cells.expert_train,
        predicted=cells.predicted_train,
        validation=None,
    )


def _rows(values: np.ndarray, boxes: np.ndarray) -> list[tuple[int, Outlined]]:
    """(row of the box, what the mask says) of each box that has a part of the mask of its own."""
    found = outlines_of_mask(values, boxes)
    return [(int(box_iou(f.box, boxes)[0].argmax()), f) for f in found]


def _largest(mask: np.ndarray) -> np.ndarray:
    return max((np.array(o) for o in mask_outlines(mask)), key=contour_area)

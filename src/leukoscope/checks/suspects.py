"""One ranked list of a set's annotations, the most suspect first: types, boxes, missing boxes, outlines and masks."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.checks.boxes import SAME_CELL_IOU, doubt_boxes
from leukoscope.checks.labels import doubt_labels, near_copies
from leukoscope.checks.mask_boxes import doubt_masks, doubt_outlines
from leukoscope.checks.observe import Observations, observe
from leukoscope.checks.suspect import KIND_WORDS, KINDS, Suspect
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.files import TableWriter, write_whole
from leukoscope.geometry import box_iou
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.progress import Progress, no_progress

UNDECIDED = 0.5
COLUMNS = (
    "rank", "suspicion", "contradicts", "kind", "file", "field_id", "patient_id", "split", "x0", "y0", "x1", "y1",
    "class", "source_code", "says", "p_class", "p_says", "detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Suspects:
    """The ranked list of one set, and what could not be judged.

    rows     every annotation that was judged, and every find without one, most suspect first
    notes    plain sentences: what was not judged and why, how folds were made
    models   task -> name of the model that judged
    """

    dataset: Dataset
    rows: tuple[Suspect, ...]
    notes: tuple[str, ...]
    models: dict[str, str]

    def contradicting(self) -> tuple[Suspect, ...]:
        """The rows of which the model holds another view than the annotation."""
        return tuple(s for s in self.rows if s.suspicion > UNDECIDED)


def find_suspects(
    dataset: str | Path | Dataset,
    model: str | Path | dict[str, Bundle] = "blood",
    *,
    masks: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Suspects:
    """Look for wrong annotations in a set.

    model  a bundled model's name, a model folder, or the bundles of `find_model`: its classifier's activations judge
           types, its locator judges boxes
    masks  where a picture's mask is, relative to the set's pictures, "{stem}" for the picture's name without suffix
           and "{number}" for the digits at its end: "masks/BloodImage_Mask_{number}.png"
    seed   deals groups to folds
    progress called with (done, total) after each photograph: once through for the model, once for near-duplicates
    Raises DataError for a folder that is no data set, ModelError for a model that can't be used, InputError for a mask
    pattern that names no file.
    """
    dataset = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    bundles = model if isinstance(model, dict) else find_model(model)
    seen = observe(dataset, bundles, progress=progress)
    copies = near_copies(dataset, progress=progress) if "classify" in bundles else {}
    ranked = rank_suspects(dataset, seen, seed=seed, masks=masks, copies=copies)
    known = knows_set(dataset, bundles)
    return replace(ranked, models={t: b.card.name for t, b in bundles.items()}, notes=known + ranked.notes)


def rank_suspects(
    dataset: Dataset,
    seen: Observations,
    *,
    seed: int = 0,
    masks: str | None = None,
    copies: dict[str, str] | None = None,
) -> Suspects:
    """The list from what a model saw. Each annotated cell stands in it once, with the kind that is most suspect.

    copies: near-duplicates that no fold may part (`labels.near_copies`); None: byte-identical pictures only
    """
    labels, notes = doubt_labels(dataset, seen, seed=seed, copies=copies)
    boxes, box_notes = doubt_boxes(dataset, seen)
    suspects = [*labels, *boxes, *doubt_outlines(dataset)]
    if masks is not None:
        of_masks, mask_notes = doubt_masks(dataset, masks)
        suspects += of_masks
        box_notes = [*box_notes, *mask_notes]
    worst: dict[tuple[str, int], Suspect] = {}
    without_cell = []
    for suspect in suspects:
        if suspect.row is None:
            without_cell.append(suspect)
            continue
        place = (suspect.field.key.field_id, suspect.row)
        if place not in worst or suspect.suspicion > worst[place].suspicion:
            worst[place] = suspect
    rows = sorted(
        [*worst.values(), *_each_once(without_cell)],
        key=lambda s: (-s.suspicion, KINDS.index(s.kind), s.field.file, s.box),
    )
    unread = [f"{len(seen.failed)} photographs could not be read: {_few(seen.failed)}"] if seen.failed else []
    return Suspects(dataset, tuple(rows), (*notes, *box_notes, *unread), {})


def _each_once(finds: list[Suspect]) -> list[Suspect]:
    """Finds without an annotated cell, a cell that both the locator and a mask show once: the more suspect row, which
    says so."""
    kept: list[Suspect] = []
    for suspect in sorted(finds, key=lambda s: -s.suspicion):
        twins = [i for i, k in enumerate(kept) if k.kind != suspect.kind and k.field is suspect.field]
        same = [i for i in twins if float(box_iou(np.array(kept[i].box), np.array(suspect.box))[0, 0]) >= SAME_CELL_IOU]
        if not same:
            kept.append(suspect)
            continue
        twin = kept[same[0]]
        details = [twin.detail, f"also {KIND_WORDS[suspect.kind]} ({suspect.suspicion:.2f})", suspect.detail]
        kept[same[0]] = replace(twin, detail="; ".join(d for d in details if d))
    return kept


def write_suspects(suspects: Suspects, path: str | Path) -> None:
    """Write the list as CSV, one row an annotation or find, in the order of the list; replaced in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path, newline="", encoding="utf-8") as file:
        writer = TableWriter(file)
        writer.writerow(COLUMNS)
        for rank, s in enumerate(suspects.rows, 1):
            cell = s.field.cells[s.row] if s.row is not None else None
            key = s.field.key
            writer.writerow(
                [rank, f"{s.suspicion:.4f}", "yes" if s.suspicion > UNDECIDED else "no", s.kind, s.field.file]
                + [key.field_id, key.patient_id, s.field.split or "", *(f"{v:.1f}" for v in s.box)]
                + [(cell.class_name or "") if cell else "", cell.source_code if cell else "", s.says]
                + [_number(s.p_class), _number(s.p_says), s.detail]
            )


def knows_set(dataset: Dataset, bundles: dict[str, Bundle]) -> tuple[str, ...]:
    """A warning for each part of a model whose card lists this set, by name or digest, among its training data.

    Such a model has seen these labels: it may repeat a wrong one and so not find it.
    """
    # A card may name one split: its digest is that of the split's fields.
    digests = {dataset.sha256()}
    for split in {f.split for f in dataset.fields if f.split}:
        digests.add(dataset.subset(split).sha256())
    lines = []
    for task, bundle in bundles.items():
        for data in bundle.card.training.get("data", []):
            if data.get("sha256") in digests or data.get("name") == dataset.name:
                part = {"locate": "locator", "classify": "classifier"}[task]
                lines.append(
                    f"The {part} {bundle.card.name} was trained on {data.get('name')}: it may repeat wrong annotations "
                    f"of the fields that it saw and so not find them."
                )
    return tuple(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _few(failed: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{file} ({reason})" for file, reason in failed[:3]) + (", …" if len(failed) > 3 else "")

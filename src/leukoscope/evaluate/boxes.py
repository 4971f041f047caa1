"""How well boxes are found: average precision as COCO computes it (area "all", the best 100 boxes a field).

Steps: `match_boxes` compares one class on one field; `average_precision` reduces the matches of many fields;
`score_boxes` does both for every class. Equal to pycocotools to 1e-6 (tests/parity). Crowd regions are not known
here: no set that is imported has them. The limit of 100 boxes is average precision's alone: recall, false boxes and
thresholds look at every box, for a photograph of marrow may show 300 cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leukoscope.errors import DataError
from leukoscope.geometry import box_iou

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_BOXES = 100  # a field and class, best first, in average precision (COCO's maxDets)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """One class on one field: scores (D,) falling, hit (T, D) whether a box found a truth at each IoU, n_truth."""

    scores: np.ndarray
    hit: np.ndarray
    n_truth: int


@dataclass(frozen=True, slots=True, eq=False)
class FieldBoxes:
    """Boxes of one field: boxes (N, 4) px xyxy; class_ids (N,); scores (N,), None for truth."""

    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        class_ids = np.asarray(self.class_ids, np.int64).reshape(-1)
        scores = None if self.scores is None else np.asarray(self.scores, np.float64).reshape(-1)
        lengths = {len(boxes), len(class_ids)} | (set() if scores is None else {len(scores)})
        if len(lengths) != 1:
            raise DataError(f"boxes, classes and scores must be as many as each other, got {sorted(lengths)}")
        if not np.isfinite(boxes).all() or (scores is not None and not np.isfinite(scores).all()):
            raise DataError("boxes and scores must be finite numbers")
        for name, value in (("boxes", boxes), ("class_ids", class_ids), ("scores", scores)):
            object.__setattr__(self, name, value)


def match_boxes(
    truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, *, thresholds: np.ndarray = IOU_THRESHOLDS
) -> Matches:
    """Give each box, best score first, the free truth it overlaps most, if by the threshold at least.

    truth (G, 4) and boxes (D, 4): px xyxy; scores (D,). Equal scores keep their order; of equally overlapping
    truths the later one is taken, as pycocotools does.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    iou = box_iou(np.asarray(boxes).reshape(-1, 4)[order], np.asarray(truth).reshape(-1, 4))  # (D, G)
    return match_overlaps(iou, np.asarray(scores)[order], thresholds=thresholds)


def match_overlaps(iou: np.ndarray, scores: np.ndarray, *, thresholds: np.ndarray = IOU_THRESHOLDS) -> Matches:
    """`match_boxes` for any kind of overlap: iou (D, G) of predictions, best score first, and truths; scores (D,)."""
    hit = np.array([_take(iou, threshold) >= 0 for threshold in thresholds]).reshape(len(thresholds), len(iou))
    return Matches(np.asarray(scores, np.float64), hit, iou.shape[1])


def pair_boxes(truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, *, iou: float = 0.5) -> np.ndarray:
    """(D,) row of the truth that each box found, -1 for none: the same rule as `match_boxes`, rows as given."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    paired = np.full(len(order), -1)
    paired[order] = _take(box_iou(np.asarray(boxes).reshape(-1, 4)[order], truth), iou)
    return paired


def _take(iou: np.ndarray, threshold: float) -> np.ndarray:
    """(D,) column that each row of iou (D, G), best box first, takes; -1 where no free one overlaps enough."""
    taken, free = np.full(len(iou), -1), np.ones(iou.shape[1], bool)
    for d, row in enumerate(iou):
        overlap = np.where(free, row, -1.0)
        if len(overlap) and overlap.max() >= min(threshold, 1 - 1e-10):
            taken[d] = len(overlap) - 1 - overlap[::-1].argmax()
            free[taken[d]] = False
    return taken


def average_precision(matches: Sequence[Matches]) -> np.ndarray:
    """(T,) average precision at each IoU over fields; NaN where no field has a truth (COCO leaves those out).

    Precision, made falling from the right, is read at 101 recalls and averaged. Of each field the best MAX_BOXES count.
    """
    matches = [best_boxes(m) for m in matches]
    n_truth = sum(m.n_truth for m in matches)
    n_thresholds = matches[0].hit.shape[0] if matches else len(IOU_THRESHOLDS)
    if n_truth == 0:
        return np.full(n_thresholds, np.nan)
    order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable")
    hit = np.concatenate([m.hit for m in matches], axis=1)[:, order]  # (T, D)
    hits, rank = np.cumsum(hit, axis=1), np.arange(1, hit.shape[1] + 1)
    recall = hits / n_truth
    precision = hits / (rank + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.zeros(n_thresholds)
    for t in range(n_thresholds):
        first = np.searchsorted(recall[t], RECALLS, side="left")
        result[t] = np.append(precision[t], 0.0)[first].mean()
    return result


def best_boxes(matches: Matches, most: int = MAX_BOXES) -> Matches:
    """The same field with its best boxes only. Greedy matching never looks down, so none is matched anew."""
    return Matches(matches.scores[:most], matches.hit[:, :most], matches.n_truth)


def boxes_above(matches: Matches, threshold: float) -> Matches:
    """The same field with the boxes scored `threshold` or more."""
    return best_boxes(matches, int((matches.scores >= threshold).sum()))


def mean_ap(classes: Sequence[Sequence[Matches]], rows: np.ndarray, thresholds: slice = slice(None)) -> float:
    """Mean over `classes` of AP on some fields: `classes` are matches by class and field, `thresholds` of the IoUs.

    A class whose truths are all on other fields counts 0, so that the mean is always over the same classes: pass those
    that have a truth at all. NaN without a class.
    """
    values = []
    for of_class in classes:
        chosen = [replace(of_class[r], hit=of_class[r].hit[thresholds]) for r in rows]
        values.append(np.nan_to_num(average_precision(chosen)).mean())
    return _mean(values)


def found_share(matches: Sequence[Matches], *, threshold_index: int = 0) -> float:
    """Share of truths found at one IoU by every box, NaN where there is no truth."""
    n_truth = sum(m.n_truth for m in matches)
    return sum(int(m.hit[threshold_index].sum()) for m in matches) / n_truth if n_truth else float("nan")


def score_boxes(truth: Sequence[FieldBoxes], pred: Sequence[FieldBoxes], class_names: Sequence[str]) -> dict:
    """COCO AP over fields in the order given, and for each class.

    Returns {"ap50_95", "ap50", "ap75", "classes": {name: {"ap50_95", "ap50", "ap75", "recall50", "n_truth"}},
    "absent": names without a truth}. recall50 is of every box. The mean is over the classes that have a truth;
    NaN where none has.
    Fields without any truth count: a box on them is a false one.
    """
    matches = match_fields(truth, pred, n_classes=len(class_names))
    classes = {name: summarise(of_class) for name, of_class in zip(class_names, matches, strict=True)}
    present = {name: row for name, row in classes.items() if row["n_truth"]}
    absent = [name for name in class_names if name not in present]
    means = {k: _mean([row[k] for row in present.values()]) for k in ("ap50_95", "ap50", "ap75")}
    return {**means, "classes": present, "absent": absent}


def match_fields(truth: Sequence[FieldBoxes], pred: Sequence[FieldBoxes], *, n_classes: int) -> list[list[Matches]]:
    """Matches[class][field]: what `average_precision` reduces, so that limits match boxes only once."""
    if len(truth) != len(pred):
        raise DataError(f"truth and predictions must list the same fields, got {len(truth)} and {len(pred)}")
    for field in (*truth, *pred):
        if len(field.class_ids) and not (0 <= field.class_ids.min() and field.class_ids.max() < n_classes):
            raise DataError(f"class ids must lie in 0 to {n_classes - 1}, got {sorted(set(field.class_ids.tolist()))}")
    if any(p.scores is None for p in pred):
        raise DataError("predicted boxes need scores")
    result = []
    for c in range(n_classes):
        of_class = []
        for t, p in zip(truth, pred, strict=True):
            kept = p.class_ids == c
            scores = np.asarray(p.scores)[kept]
            of_class.append(match_boxes(t.boxes[t.class_ids == c], p.boxes[kept], scores))
        result.append(of_class)
    return result


def summarise(matches: Sequence[Matches]) -> dict:
    """The numbers of one class: AP50-95, AP50, AP75, share of truths found at IoU 0.5, truths."""
    ap = average_precision(matches)
    return {
        "ap50_95": float(ap.mean()),
        "ap50": float(ap[0]),
        "ap75": float(ap[5]),
        "recall50": found_share(matches),
        "n_truth": sum(m.n_truth for m in matches),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")

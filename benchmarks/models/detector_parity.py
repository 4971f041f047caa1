"""Our mAP against pycocotools on the same detections of every system.

    python -m benchmarks.models.detector_parity --run RUN [--run RUN]... [--data FOLDER]

Each run folder of `leukoscope train` with task "detect" finds cells in pbc's split test under its own taxonomy, and so
does the two-stage system that ships (locator and classifier). COCO's mAP50-95 and mAP50 are computed by
`evaluate.boxes` and by pycocotools from one list of boxes; the differences must be at most 1e-6.
Writes benchmarks/results/detector_parity.csv.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.models.coco_reference import coco_evaluation
from benchmarks.public_sets import LEFT_OUT, import_public
from leukoscope.classify import classify
from leukoscope.dataset.detection import usable_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import FieldBoxes, score_boxes
from leukoscope.evaluate.predict import LOWEST_SCORE
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import PCM_9, Taxonomy, nearest_class

MOST = 1e-6


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        dataset = import_public("pbc", args.data, work).subset("test")
        for run in args.run:
            yield of_run(run, dataset)
        nine = usable_fields(dataset, PCM_9, leave_out=LEFT_OUT)
        yield compare("two stages, bundled", truth_of(nine, PCM_9), two_stages(nine), PCM_9)
    return {"set": "pbc, split test"}


def of_run(path: str, dataset: Dataset) -> dict:
    """The row of one trained detector."""
    from leukoscope.train.detector.predict import detect, read_detector
    from leukoscope.train.run_folder import read_run

    detector = read_detector(path)
    usable = usable_fields(dataset, detector.taxonomy, leave_out=LEFT_OUT)
    name = f"{read_run(path, 'detect')['arch']}, {detector.taxonomy.name}"
    return compare(name, truth_of(usable, detector.taxonomy), detect(detector, usable), detector.taxonomy)


def truth_of(dataset: Dataset, taxonomy: Taxonomy) -> list[FieldBoxes]:
    from leukoscope.train.detector.predict import truth_boxes

    return truth_boxes(dataset, taxonomy)


def two_stages(dataset: Dataset) -> list[FieldBoxes]:
    """What the bundled pair finds, each box under the PCM class nearest to its call, else as "other"."""
    bundles = find_model("blood")
    card = bundles["locate"].card
    every = replace(card, thresholds=card.thresholds | {"score": LOWEST_SCORE})
    locator, classifier = Session(replace(bundles["locate"], card=every)), Session(bundles["classify"])
    names = classifier.card.taxonomy.names
    column = np.array([PCM_9.index(nearest_class(n, PCM_9.names) or "other") for n in names])
    found = []
    for truth in dataset.fields:
        field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        calls = classify(field, locate(field, locator), classifier)
        scores = calls.cells.scores * calls.probs.max(1) if len(calls.cells) else np.zeros(0)
        found.append(FieldBoxes(calls.cells.boxes, column[calls.class_ids()], scores))
    return found


def compare(system: str, truth: list[FieldBoxes], found: list[FieldBoxes], taxonomy: Taxonomy) -> dict:
    """One row: both scorers' numbers and their differences."""
    ours = score_boxes(truth, found, taxonomy.names)
    theirs = coco_means(truth, found, len(taxonomy.names))
    differences = [abs(ours[k] - theirs[k]) for k in ("ap50_95", "ap50")]
    return {
        "system": system,
        "n_fields": len(truth),
        "n_boxes": sum(len(f.boxes) for f in found),
        "classes_present": len(ours["classes"]),
        "map50_95": round(ours["ap50_95"], 6),
        "map50": round(ours["ap50"], 6),
        "difference": f"{max(differences):.2g}",
        "threshold": f"<= {MOST:g}",
        "met": "yes" if max(differences) <= MOST else "no",
    }


def coco_means(truth: list[FieldBoxes], found: list[FieldBoxes], n_classes: int) -> dict[str, float]:
    """pycocotools' mAP50-95 and mAP50."""
    stats = coco_evaluation(truth, found, n_classes).stats
    return {"ap50_95": float(stats[0]), "ap50": float(stats[1])}


if __name__ == "__main__":
    benchmark(
        main, DATA,
        option("--run", action="append", default=[], help="a detector's run folder; may be given again"),
    )  # fmt: skip

"""The study's figures, each also a file under OUT/figures: curves, matrices, distribution, cells, errors."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from leukoscope.crop import crop_cells
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ImageError
from leukoscope.experiments import figures
from leukoscope.experiments.pcm.boxes import pr_points
from leukoscope.experiments.pcm.classifiers import parts_scored, worst_errors
from leukoscope.experiments.pcm.config import RowPlan
from leukoscope.experiments.pcm.data import StudySet
from leukoscope.experiments.pcm.detectors import read_detections
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.rows import Row
from leukoscope.files import write_bytes
from leukoscope.images import read_image
from leukoscope.models.bundle import CropRule
from leukoscope.report.words import class_words

SHOWN = CropRule(size=112, pad_fraction=0.35)  # of cells on the page: the cell and what stands around it
SHEET_CELLS = 5
GALLERY = 24


def keep_figure(run: StudyRun, name: str, image: bytes) -> bytes:
    """Also write a figure as a file; its ending follows from its content."""
    folder = run.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    ending = "jpg" if image.startswith(b"\xff\xd8") else "svg"
    write_bytes(folder / f"{name}.{ending}", image)
    return image


def distribution(run: StudyRun) -> bytes:
    """Figure 6: cells by class, training and test."""
    counts: dict[str, Counter] = {n: Counter() for n in run.study.taxonomy.names}
    for field in run.study.data.all.dataset.fields:
        part = {"train": "Train/Val", "val": "Train/Val", "test": "Test"}.get(str(field.split))
        for cell in field.cells if part else ():
            counts[str(cell.class_name)][part] += 1
    filled = {n: {p: c[p] for p in ("Train/Val", "Test")} for n, c in counts.items()}
    return keep_figure(run, "class-distribution", figures.class_distribution(filled))


def pr_figures(run: StudyRun, plan: RowPlan, row: Row) -> list[tuple[str, bytes]]:
    """(set in words, PR curves) of one detector or two-stage row, a figure a set."""
    boxes = read_detections(run.config, run.out, plan, run.study)
    made = []
    for part, scored in row.result["sets"].items():
        if part in boxes:
            points = pr_points(boxes[part])
            if points:
                image = figures.pr_curves(points)
                made.append((scored["set"], keep_figure(run, f"pr-{plan.name}-{part}", image)))
    return made


def confusion_figures(run: StudyRun, plan: RowPlan, row: Row) -> list[tuple[str, bytes]]:
    """(set in words, confusion matrix) of one row: end to end for detectors, calls for classifiers."""
    made = []
    for part, scored in row.result["sets"].items():
        if plan.kind == "classifier":
            if not scored["n_cells"]:
                continue
            image = call_matrix(scored)
        else:
            names = row.result["names"]
            matrix = np.array(scored["end_to_end"]["confusion"])
            rows = [i for i in range(len(names)) if matrix[i].any()] + [len(names)]
            labels = [[*names, "no cell"][i] for i in rows]
            image = figures.confusion(matrix[rows], labels, columns=[*names, "missed"])
        made.append((scored["set"], keep_figure(run, f"confusion-{plan.name}-{part}", image)))
    return made


def call_matrix(scored: dict) -> bytes:
    """A classifier's confusion matrix; classes without a cell have no row, calls outside the set's classes a column."""
    matrix, labels = np.array(scored["confusion"]), scored["labels"]
    rows = [i for i in range(len(labels)) if matrix[i].any()]
    columns = list(range(len(labels) + bool(matrix[:, -1].any())))
    named = [[*labels, "outside"][c] for c in columns]
    return figures.confusion(matrix[np.ix_(rows, columns)], [labels[r] for r in rows], columns=named)


def training_figure(run: StudyRun, plan: RowPlan, row: Row) -> bytes | None:
    """Figures 7 and 9: losses and validation scores by epoch, from the run's log; None where there is no log."""
    panels = read_curves(row.folder / "run" / "log.csv")
    return keep_figure(run, f"training-{plan.name}", figures.training_curves(panels)) if panels else None


def read_curves(log: Path) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """{"Loss": {name: (epochs, values)}, "Validation": …} of a run's log.csv; empty where there is none."""
    if not log.is_file():
        return {}
    with open(log, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = defaultdict(dict)
    for column in rows[0] if rows else ():
        panel = _panel_of(column)
        if panel is None:
            continue
        points = [(float(r["epoch"]), float(r[column])) for r in rows if _is_number(r[column])]
        if points:
            name = column.replace("loss_", "").removeprefix("val_") if panel == "Validation" else column
            panels[panel][name.replace("_", " ")] = tuple(map(list, zip(*points, strict=True)))
    return dict(panels)


def _panel_of(column: str) -> str | None:
    if "loss" in column:
        return "Loss"
    return "Validation" if column.startswith("val_") else None


def _is_number(text: str | None) -> bool:
    try:
        return bool(text) and np.isfinite(float(text))
    except ValueError:
        return False


def calibration_figures(run: StudyRun) -> list[tuple[str, bytes]]:
    """(caption, figure): reliability and accuracy against cells handed over, each set with all classifiers."""
    reliability: dict[str, dict] = defaultdict(dict)
    handed: dict[str, dict] = defaultdict(dict)
    for plan, row in run.done("classifier"):
        for scored in row.result["sets"].values():
            if scored["n_cells"]:
                reliability[scored["set"]][plan.label] = scored["reliability"]
                handed[scored["set"]][plan.label] = tuple(map(list, zip(*scored["selective"], strict=True)))
    for plan, row in run.done("adaptation"):
        zero = row.result["zero_shot"]
        reliability[row.result["set"]][f"{plan.label}: zero-shot"] = zero["reliability"]
        handed[row.result["set"]][f"{plan.label}: zero-shot"] = tuple(map(list, zip(*zero["selective"], strict=True)))
    made = []
    for number, name in enumerate(reliability):
        image = figures.reliability_diagram(reliability[name], name)
        made.append((f"Reliability on {name}: accuracy against confidence; a point's size is its number of cells.",
                     keep_figure(run, f"reliability-{number}", image)))  # fmt: skip
        lowest = min(min(y) for _, y in handed[name].values())
        image = figures.lines(
            handed[name], name, x_label="Share handed to a human", y_label="Accuracy of the rest",
            y_range=(max(0.0, lowest - 0.05), 1.02),
        )  # fmt: skip
        made.append((f"Accuracy on {name} of the cells that stay, against the share handed over, the least sure first.",
                     keep_figure(run, f"handed-over-{number}", image)))  # fmt: skip
    return made


def contact_sheet(run: StudyRun, other: StudySet) -> bytes | None:
    """Figure 4: cells of the data and of another set side by side, class by class; None without a common class."""
    data = run.study.data
    rows = []
    for number, label in enumerate(other.mapping.labels):
        theirs = [n for n, column in other.mapping.of_class.items() if column == number]
        model = [n for n, column in zip(run.study.cells.names, other.mapping.columns, strict=True) if column == number]
        ours = [n for n, column in data.mapping.of_class.items() if data.mapping.labels[column] in model]
        left = draw_cells(data.source, ours, SHEET_CELLS, seed=run.config.seed)
        right = draw_cells(other.source, theirs, SHEET_CELLS, seed=run.config.seed)
        if left or right:
            rows.append((label, left, right))
    if not rows:
        return None
    name = f"contact-sheet-{[s.name for s in run.study.sets].index(other.name)}"
    return keep_figure(run, name, figures.contact_sheet(rows, data.name[:34], other.name[:34]))


def draw_cells(dataset: Dataset, class_names: list[str], n: int, *, seed: int) -> list[np.ndarray]:
    """Up to n crops of cells of these classes, drawn at random, of different photographs as far as possible."""
    places = [(f, c) for f in dataset.fields for c in f.cells if c.class_name in class_names]
    order = np.random.default_rng(seed).permutation(len(places))
    chosen, seen = [], set()
    for again in (False, True):
        for i in order:
            field, cell = places[i]
            if len(chosen) < n and (again or field.file not in seen) and i not in chosen:
                chosen.append(i)
                seen.add(field.file)
    crops = [cut_cell(dataset, places[i][0].file, places[i][1].box) for i in chosen]
    return [c for c in crops if c is not None]


def cut_cell(dataset: Dataset, file: str, box: tuple) -> np.ndarray | None:
    """One cell with its surroundings (112, 112, 3); None where the picture can't be read any more."""
    try:
        pixels = read_image(dataset.image_root / file)
    except ImageError:
        return None
    return crop_cells(pixels, np.array([box]), SHOWN)[0]


def error_items(run: StudyRun) -> tuple[str, list[tuple[np.ndarray, str, str]]]:
    """(the row's label, cells it called wrong and was surest of): of the classifier with the best accuracy on test."""
    done = [(p, r) for p, r in run.done("classifier") if r.result["sets"]["test"]["n_cells"]]
    if not done:
        return "", []
    plan, row = max(done, key=lambda item: item[1].result["sets"]["test"]["accuracy"]["value"] or 0)
    items = []
    for name, study_set in parts_scored(run.study.sets).items():
        if not row.result["sets"].get(name, {}).get("n_cells"):
            continue
        for file, box, truth, called, prob in worst_errors(row.folder, name, study_set, GALLERY):
            crop = cut_cell(study_set.source, file, box)
            if crop is not None:
                line = f"{class_words(truth)}, called {class_words(called)}"
                items.append((crop, line, f"{100 * prob:.0f} % sure; {study_set.name}, {Path(file).name}"))
    if items:
        captions = [line.replace(", called", "\ncalled") + "\n" + rest.split(";")[0] for _, line, rest in items]
        keep_figure(run, "errors", figures.error_gallery([c for c, _, _ in items], captions))
    return plan.label, items

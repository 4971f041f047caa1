"""What both studies share: intervals, tables, rows, the page and its figures."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import ConfigError, DataError
from leukoscope.evaluate.boxes import FieldBoxes, average_precision, match_fields
from leukoscope.evaluate.classes import confusion_matrix, per_class
from leukoscope.experiments import figures, page
from leukoscope.experiments.intervals import (
    Estimate,
    accuracy_of,
    class_estimates,
    estimate,
    group_fields,
    macro_f1_of,
    mean_ap_of,
    paired_difference,
    rank_matches,
    weighted_ap,
)
from leukoscope.experiments.rows import DONE, FAILED, NOT_INSTALLED, NOT_RUN, fingerprint_of, read_row, run_row
from leukoscope.experiments.tables import Column, Table, table_html, texts, write_table
from leukoscope.types import FieldKey


def field(number: int, patient: str = "", center: str = "A") -> TruthField:
    key = FieldKey(f"f{number}", "", patient, center, "blood")
    return TruthField(key, f"f{number}.png", f"{number:064x}", 10, 10, ())


def dataset(*fields: TruthField) -> Dataset:
    return Dataset("made", Path("."), fields, "none", "none", "made")


def test_patients_vary_where_all_are_stated_and_clusters_else():
    stated = group_fields(dataset(field(0, "1"), field(1, "1", "B"), field(2, "1")))
    assert (stated.unit, len(set(stated.of_file.values()))) == ("patient", 2)  # one id, two hospitals
    by_cluster = group_fields(dataset(field(0, "1"), field(1), field(2), field(3)), [(1, 3)])
    assert by_cluster.unit == "near-duplicate cluster"
    assert by_cluster.of(["f1.png", "f3.png"]).tolist() == ["cluster 1", "cluster 1"]
    assert len(set(by_cluster.of_file.values())) == 3
    one_patient = group_fields(dataset(field(0, "1"), field(1, "1")))
    assert one_patient.unit == "near-duplicate cluster"


def random_matches(rng: np.random.Generator, n_fields: int) -> list:
    truth, pred = [], []
    for _ in range(n_fields):
        boxes = rng.uniform(0, 60, (rng.integers(0, 4), 2))
        boxes = np.concatenate([boxes, boxes + 20], axis=1)
        found = np.concatenate([boxes + rng.uniform(-4, 4, boxes.shape), rng.uniform(0, 30, (1, 4)) + [0, 0, 40, 40]])
        truth.append(FieldBoxes(boxes, np.zeros(len(boxes))))
        pred.append(FieldBoxes(found, np.zeros(len(found)), np.round(rng.uniform(0, 1, len(found)), 4)))
    return match_fields(truth, pred, n_classes=1)[0]


def test_average_precision_by_weights_equals_that_of_repeated_fields():
    rng = np.random.default_rng(3)
    matches = random_matches(rng, 12)
    ranked = rank_matches(matches)
    for _ in range(20):
        rows = rng.integers(12, size=12)
        expected = average_precision([matches[r] for r in rows])
        assert weighted_ap(ranked, np.bincount(rows, minlength=12)) == pytest.approx(expected, abs=1e-12)
        assert mean_ap_of([ranked])(rows) == pytest.approx(expected.mean(), abs=1e-12)
    half = mean_ap_of([ranked], iou_rows=slice(0, 1))
    assert half(np.arange(12)) == pytest.approx(average_precision(matches)[0])
    assert math.isnan(weighted_ap(ranked, np.zeros(12))[0])


def test_a_class_without_a_truth_is_left_out_of_the_mean():
    rng = np.random.default_rng(4)
    ranked = rank_matches(random_matches(rng, 6))
    absent = replace(ranked, n_truth=np.zeros(6, int))
    rows = np.arange(6)
    assert mean_ap_of([ranked, absent])(rows) == mean_ap_of([ranked])(rows)


def test_an_estimate_holds_value_limits_and_denominators():
    truth, calls = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 0, 0])
    groups = np.array(["a", "a", "b", "b", "c", "c"])
    found = estimate(accuracy_of(truth, calls), groups, unit="patient")
    assert found.value == pytest.approx(4 / 6) and found.low <= found.value <= found.high
    assert (found.n, found.n_groups, found.unit) == (6, 3, "patient")
    assert Estimate.from_dict(found.to_dict()) == found
    lone = estimate(accuracy_of(truth, calls), np.full(6, "a"), unit="patient")
    assert math.isnan(lone.low) and lone.to_dict()["low"] is None
    assert macro_f1_of(truth, calls, 2)(np.arange(6)) == pytest.approx(4 / 6)


def test_a_paired_difference_is_narrower_than_the_systems_apart():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    hard = np.repeat(rng.uniform(0, 0.6, 30), 10)  # patients differ far more than the systems do
    wrong = rng.uniform(size=300) < hard
    first, second = np.where(wrong, 1 - truth, truth), np.where(wrong & (rng.uniform(size=300) < 0.7), 1 - truth, truth)
    groups = np.repeat([f"p{i}" for i in range(30)], 10)
    apart = estimate(accuracy_of(truth, first), groups, unit="patient")
    pair = paired_difference(accuracy_of(truth, second), accuracy_of(truth, first), groups, unit="patient")
    assert 0 < pair.low < pair.value < pair.high
    assert pair.high - pair.low < apart.high - apart.low


def test_class_estimates_equal_those_of_the_evaluation():
    rng = np.random.default_rng(5)
    truth, calls, groups = rng.integers(0, 3, 60), rng.integers(0, 3, 60), rng.integers(0, 8, 60).astype(str)
    matrices = np.zeros((60, 4, 4))
    matrices[np.arange(60), truth, calls] = 1
    found = class_estimates(matrices, groups, unit="patient")
    whole = per_class(confusion_matrix(truth, calls, n_classes=4))
    for name, of_class in found.items():
        assert [e.value for e in of_class] == pytest.approx(whole[name].tolist())
    recall = found["recall"][1]
    of_one = truth == 1
    slow = estimate(accuracy_of(truth[of_one], calls[of_one]), groups[of_one], unit="patient")
    assert (recall.low, recall.high) == pytest.approx((slow.low, slow.high), abs=0.06) and recall.n == of_one.sum()
    assert found["f1"][3].value == 0 and math.isnan(class_estimates(matrices, np.full(60, "a"), unit="x")["f1"][0].low)


def test_a_table_is_written_with_limits_and_shown_with_the_same_numbers(tmp_path):
    number = Estimate(0.808, 0.781, 0.83, 7733, 12, "patient")
    table = Table(
        "table4", "Table 4",
        (*texts("Model", "Cells"), Column("mAP50-95", as_percent=True), Column("Seconds", digits=2)),
        (("YOLO11m", 7733, number, 1.5), ("DEIM", 7733, None, math.nan)), note="A < note",
    )  # fmt: skip
    rows = list(csv.reader(write_table(table, tmp_path).read_text("utf-8").splitlines()))
    assert rows[0][2:7] == [
        "mAP50-95 (%)", "mAP50-95 (%) low", "mAP50-95 (%) high", "mAP50-95 (%) groups", "mAP50-95 (%) unit",
    ]  # fmt: skip
    assert rows[1] == ["YOLO11m", "7733", "80.8000", "78.1000", "83.0000", "12", "patient", "1.5000"]
    assert rows[2] == ["DEIM", "7733", "", "", "", "", "", ""]
    shown = table_html(table)
    assert "80.8<small>78.1–83.0</small>" in shown and "7,733" in shown and "A &lt; note" in shown
    with pytest.raises(ValueError, match="2 values, got 1"):
        Table("t", "t", texts("a", "b"), (("x",),))


def test_a_finished_row_is_not_run_again_and_a_failed_one_is(tmp_path):
    calls = []

    def work(folder, resume):
        calls.append(resume)
        (folder / "mark").write_text("x")
        if len(calls) == 1:
            raise DataError("no cells")
        return {"n": 3}

    digest = fingerprint_of({"a": 1}, "data")
    assert read_row(tmp_path, "one").status == NOT_RUN
    first = run_row(tmp_path, "one", digest, work)
    assert (first.status, first.reason) == (FAILED, "no cells")
    assert "DataError" in (first.folder / "error.txt").read_text()
    second = run_row(tmp_path, "one", digest, work, resume=True)
    assert (second.status, second.result, calls) == (DONE, {"n": 3}, [False, True])
    assert second.seconds >= first.seconds and not (second.folder / "error.txt").exists()
    assert run_row(tmp_path, "one", digest, work).result == {"n": 3} and len(calls) == 2
    assert read_row(tmp_path, "one") == second
    with pytest.raises(ConfigError, match="other settings or other data"):
        run_row(tmp_path, "one", fingerprint_of("else"), work)


def test_without_resume_an_unfinished_row_starts_afresh(tmp_path):
    seen = []

    def work(folder, resume):
        seen.append(sorted(p.name for p in folder.iterdir()))
        (folder / "last.pt").write_text("half")
        raise RuntimeError("stopped")

    run_row(tmp_path, "one", "d", work)
    run_row(tmp_path, "one", "d", work)
    run_row(tmp_path, "one", "d", work, resume=True)
    run_row(tmp_path, "one", "other", work, resume=True)  # of other settings: nothing to go on from
    assert seen[0] == seen[1] == seen[3] == [] and "last.pt" in seen[2]


def test_a_row_whose_extra_is_missing_says_so_and_one_that_leaves_on_purpose_is_not_caught(tmp_path):
    row = run_row(tmp_path, "yolo", "d", lambda f, r: {}, needs=("no_such_module",), extra="yolo")
    assert row.status == NOT_INSTALLED and "leukoscope[yolo]" in row.reason

    def stop(folder, resume):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_row(tmp_path, "two", "d", stop)
    assert read_row(tmp_path, "two").status == NOT_RUN


def test_the_page_loads_nothing_and_says_what_it_is_for():
    sections = [page.Section("one", "One & two", page.paragraph("x < y"))]
    text = page.study_page(
        "Study", ["A patient stands on both sides"], sections, meta="made", first=page.facts([("a", "b")])
    )
    assert text.index("both sides") < text.index("One &amp; two")
    assert "Research use only" in text and "not a diagnosis" in text
    assert "http" not in text.replace("http-equiv", "") and "<script" not in text
    assert "x &lt; y" in text and 'href="#one"' in text


def test_every_figure_is_a_picture():
    grey = np.full((20, 20, 3), 120, np.uint8)
    x = np.linspace(0, 1, 5)
    rows = [{"n": 4, "confidence": 0.5, "accuracy": 0.4}, {"n": 9, "confidence": 0.9, "accuracy": 0.8}]
    drawn = [
        figures.pr_curves({"neutrophil": (x, 1 - x, 0.5)}),
        figures.training_curves({"loss": {"train": (x, x), "val": (x, 1 - x)}, "accuracy": {"val": (x, x)}}),
        figures.confusion(np.array([[3, 1], [0, 2]]), ["neutrophil", "basophil"], columns=["neutrophil", "missed"]),
        figures.class_distribution({"neutrophil": {"Train/Val": 3, "Test": 1}, "basophil": {"Test": 2}}),
        figures.roc({"a": (x, x, 0.5)}),
        figures.reliability_diagram({"a": rows}),
        figures.lines({"a": (x, x), "b": (x, x, x - 0.1, x + 0.1)}, x_label="x", y_label="y"),
        figures.scatter_agreement(x, x, x_label="x", y_label="y", line=(1.0, 0.0)),
        figures.bland_altman(x, x, 0.1, (-0.2, 0.4)),
    ]
    assert all(b"<svg" in d and page.image_uri(d).startswith("data:image/svg+xml") for d in drawn)
    assert drawn[0] == figures.pr_curves({"neutrophil": (x, 1 - x, 0.5)})  # the same bytes again
    shots = [
        figures.contact_sheet([("neutrophil", [grey], [grey, grey])], "a", "b"),
        figures.error_gallery([grey], ["x"]),
    ]
    assert all(page.image_uri(s).startswith("data:image/jpeg") for s in shots)

"""The demo: four patients whose truth is drawn, found again, and an error where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leukoscope.cli import main
from leukoscope.cli.demo import comparison
from leukoscope.demo import Demo, read_known, run_demo
from leukoscope.errors import InputError
from leukoscope.report import Known, read_record


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return run_demo(out, seed=7, fields_per_patient=5)


@pytest.mark.slow
def test_every_true_ratio_lies_in_its_printed_interval(demo):
    assert {f.known.kind for f in demo.patients} == {"ordinary", "AML-like", "ALL-like", "many smudges"}
    assert all(f.inside for f in demo.patients) and not demo.problems


def test_blasts_are_called_blasts_and_smudges_are_not(demo):
    assert sum(f.n_called for f in demo.patients) >= 0.9 * sum(f.known.n_blasts for f in demo.patients) > 30
    smudges = next(f for f in demo.patients if f.known.kind == "many smudges")
    assert smudges.known.n_blasts == 0 and smudges.value < 0.05


def test_the_record_names_both_models_and_the_page_shows_the_truth(demo):
    record = read_record(demo.report.with_name("record.json"))
    assert record.provenance["models"]["classifier"]["name"] == "rendered-classifier"
    page = demo.report.read_text("utf-8")
    assert "What was drawn, and what was found" in page and "AML-like" in page and "rendered-classifier" in page


def test_what_is_wrong_is_said(demo):
    first = demo.patients[0]
    wrong = replace(first, low=0.98, high=0.99, value=0.985)
    assert "outside the interval" in replace(demo, patients=(wrong, *demo.patients[1:])).problems[0]
    missed = tuple(replace(f, n_called=0) for f in demo.patients)
    assert "were called blasts" in replace(demo, patients=missed).problems[-1]
    assert "  NO" in "\n".join(comparison(Demo(demo.report, (wrong,))))


def test_the_command_prints_both_and_fails_where_they_differ(demo, tmp_path, monkeypatch, capsys):
    missed = replace(demo, patients=tuple(replace(f, n_called=0) for f in demo.patients))
    for result, code in ((demo, 0), (missed, 2)):
        monkeypatch.setattr("leukoscope.demo.run_demo", lambda out, seed, progress, result=result: result)
        assert main(["demo", "--out", str(tmp_path)]) == code
        said = capsys.readouterr()
        assert "drawings, not photographs" in said.out and "ALL-like" in said.out and str(demo.report) in said.out
        assert ("not right" in said.err) == (code == 2)


def test_a_folder_that_holds_a_demo_is_left_alone(demo):
    with pytest.raises(InputError, match="holds a demo already"):
        run_demo(demo.report.parent.parent, seed=7)


def test_a_truth_that_is_none_is_refused(tmp_path):
    (tmp_path / "truth.json").write_text('{"patients": [{"patient_id": "a"}]}', "utf-8")
    with pytest.raises(InputError, match="truth.json"):
        read_known(tmp_path / "truth.json")
    with pytest.raises(InputError, match="known blasts"):
        Known("a", "ordinary", 3, 2)

"""What a newcomer meets: the doctor, progress in a log, what to type next, spellings of both sides of the ocean."""

from __future__ import annotations

import shlex
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from leukoscope import doctor
from leukoscope.cli import build_parser, main, progress
from leukoscope.cli.train import next_commands
from leukoscope.models.bundle import BUNDLED, find_model

ROOT = Path(__file__).resolve().parent.parent


def test_the_doctor_finds_a_whole_installation(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "onnxruntime" in out and "digests fit" in out and "extra train" in out and str(BUNDLED) in out


def test_the_doctor_describes_extras_that_there_are_and_lists_them_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(doctor.EXTRAS) <= set(project["optional-dependencies"])
    installed = {e for e in (metadata.metadata("leukoscope").get_all("Provides-Extra") or ())}
    assert {f"extra {e}" for e in installed} <= {f.topic for f in doctor.examine()}


def test_the_doctor_says_what_is_broken(tmp_path, monkeypatch, capsys):
    shutil.copytree(BUNDLED / "rendered", tmp_path / "mine")
    (tmp_path / "mine" / "classifier" / "model.onnx").write_bytes(b"cut short")
    monkeypatch.setattr(doctor, "BUNDLED", tmp_path)
    monkeypatch.setattr(doctor, "bundled_names", lambda: ["mine"])
    monkeypatch.setattr(doctor, "find_model", lambda name: find_model(tmp_path / name))
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("pillow", "ultralytics") else real(name))
    found = {f.topic: f for f in doctor.examine()}
    assert found["missing"].ok is False and "pillow" in found["missing"].text
    assert found["model mine"].ok is False and "does not fit its card" in found["model mine"].text
    assert found["extra yolo"].ok is None and "pip install '.[yolo]'" in found["extra yolo"].text
    assert main(["doctor"]) == 2
    assert "does not work" in capsys.readouterr().err


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    now = iter([0.0, 40.0, 71.0, 80.0, 132.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.progress_bar("training") as show:
        for done in (1, 2, 3, 4):
            show(10 * done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 20 of 100 (20 %), about 4 minutes left",
        "training: 40 of 100 (40 %), about 3 minutes left",
    ]


@pytest.mark.parametrize("seconds, words", [(40, "40 seconds"), (720, "12 minutes"), (12600, "3.5 hours")])
def test_durations_in_words(seconds, words):
    assert progress._words(seconds) == words


def test_training_ends_with_the_next_command_and_the_run_folder_is_a_model(tmp_path):
    shutil.copytree(BUNDLED / "rendered" / "classifier", tmp_path / "my run" / "bundle")
    assert find_model(tmp_path / "my run")["classify"].card.name == "rendered-classifier"
    lines = next_commands(tmp_path / "my run")
    assert len(lines) == 2 and f"--model '{tmp_path / 'my run'}' --locator blood" in lines[1]
    for line in lines:
        words = shlex.split(line.split("leukoscope ", 1)[1])
        build_parser().parse_args(words)
    assert next_commands(tmp_path) == []


def test_both_spellings_and_a_decimal_comma_are_understood():
    args = build_parser().parse_args(["analyse", "x", "--out", "y", "--um-per-px", "0,1"])
    assert args.um_per_px == 0.1
    words = ["simulate", "--out", "y", "--patients", "4", "--seed", "1", "--centres", "2"]
    assert build_parser().parse_args(words).centers == 2


@pytest.mark.parametrize("wrong", ["1,000.5", "0,1,2", "zero", "-0,1"])
def test_a_number_that_is_none_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["analyze", "x", "--out", "y", f"--um-per-px={wrong}"])
    assert "positive number" in capsys.readouterr().err

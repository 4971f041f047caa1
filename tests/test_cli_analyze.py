"""`leukoscope analyze`: what it says, options that reach the record, and what it refuses."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys

import pytest
from data.cli_lines import one_line_error
from data.make_bundles import draw_field, make_model
from PIL import Image


def test_analyze_an_empty_folder(command, tmp_path):
    (tmp_path / "empty").mkdir()
    model = make_model(tmp_path / "model")
    one_line_error(
        command("analyze", tmp_path / "empty", "--out", tmp_path / "o", "--model", model), tmp_path / "empty"
    )


@pytest.fixture
def smear(tmp_path):
    """A folder of patient P1's: one readable picture with three drawn cells and a text file called .jpg."""
    folder = tmp_path / "P1"
    folder.mkdir()
    places = [(60, 60, "lymphocyte"), (160, 70, "lymphoblast"), (120, 180, "monocyte")]
    Image.fromarray(draw_field(256, 256, places)).save(folder / "good.png")
    (folder / "text.jpg").write_text("this is no picture")
    return folder


def test_analyze_says_the_model_the_counts_and_where_the_report_is(command, smear, tmp_path):
    model, out = make_model(tmp_path / "model"), tmp_path / "report"
    code, printed, err = command("analyze", smear, "--out", out, "--model", model)
    assert (code, err) == (0, "")
    record = json.loads((out / "record.json").read_text("utf-8"))
    name = record["provenance"]["models"]["classifier"]["name"]
    lines = printed.splitlines()
    assert name in lines[0] and "bundled" not in lines[0]
    assert lines[1].startswith(
        "P1: 3 leukocytes counted in 2 photographs; 1 could not be read; blasts 33.3 % (0.8 to 90.6 %)"
    )
    assert "few_cells" in lines[1]
    assert str(out / "report.html") in lines[2]
    assert "Research use only" in lines[-1]
    assert {f["file"].rpartition("/")[2]: f["reason"] for f in record["fields"]} == {
        "good.png": None,
        "text.jpg": "not_an_image",
    }


def test_analyze_names_the_first_pictures_that_it_could_not_read(command, smear, tmp_path):
    for name in ("a.heic", "b.svs", "c.jpg", "d.jpg", "e.jpg"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"?")
    (tmp_path / "in" / "z.png").write_bytes((smear / "good.png").read_bytes())
    code, out, _err = command("analyze", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    lines = [line for line in out.splitlines() if line.startswith("not read: ")]
    assert code == 0 and len(lines) == 4
    assert "a.heic (not_an_image)" in lines[0] and "b.svs (unsupported): this .svs is not read" in lines[1]
    assert lines[3] == "not read: 2 more; the report lists all"


def test_a_name_can_not_command_the_terminal(command, smear, tmp_path):
    pictures = tmp_path / "in" / "red\x1b[31m\nward"
    pictures.mkdir(parents=True)
    (pictures / "no\x1b[2J.png").write_bytes(b"?")
    (pictures / "yes.png").write_bytes((smear / "good.png").read_bytes())
    code, out, _err = command("analyze", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    assert code == 0 and "\x1b" not in out and "no\\x1b[2J.png" in out and "red\\x1b[31m\\nward: " in out
    _code, _out, err = command("analyze", tmp_path / "absent\x1b[31m", "--out", tmp_path / "out2")
    assert "\x1b" not in err and "absent\\x1b[31m" in err


def test_a_name_that_the_terminal_lacks_and_a_closed_terminal(smear, tmp_path):
    pictures = tmp_path / "in" / "Мария"
    pictures.mkdir(parents=True)
    (pictures / "\udcff.png").write_bytes((smear / "good.png").read_bytes())
    command = [sys.executable, "-m", "leukoscope", "analyze", str(tmp_path / "in"), "--out"]
    told = subprocess.run(
        [*command, str(tmp_path / "one")],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0 and "\\u041c" in told.stdout, told.stderr
    closed = subprocess.run(f"{shlex.join(command)} {tmp_path / 'two'} >&- 2>&-", shell=True)
    assert closed.returncode == 0 and (tmp_path / "two" / "record.json").exists()


def test_analyze_options_reach_the_record(command, smear, tmp_path):
    model, out = make_model(tmp_path / "model"), tmp_path / "report"
    (tmp_path / "p.csv").write_text(f"file,patient_id\n{smear}/good.png,A\n{smear}/text.jpg,B\n")
    options = (
        "--specimen",
        "marrow",
        "--um-per-px",
        "0.1",
        "--min-cells",
        "2",
        "--patients",
        tmp_path / "p.csv",
        "--tile-px",
        "256",
    )
    code, _, err = command("analyze", smear, "--out", out, "--model", model, *options)
    assert (code, err) == (0, "")
    record = json.loads((out / "record.json").read_text("utf-8"))
    made = record["provenance"]
    assert (made["specimen"], made["um_per_px"], made["min_cells"], made["options"]["tile_px"]) == (
        "marrow",
        0.1,
        2,
        256,
    )
    assert [p["patient_id"] for p in record["patients"]] == ["A", "B"]


def test_analyze_refuses_a_second_run_in_one_folder_unless_it_resumes(command, smear, tmp_path):
    call = ("analyze", smear, "--out", tmp_path / "report", "--model", make_model(tmp_path / "model"))
    assert command(*call)[0] == 0
    before = (tmp_path / "report" / "record.json").read_bytes()
    one_line_error(command(*call), "--resume")
    assert command(*call, "--resume")[0] == 0
    assert (tmp_path / "report" / "record.json").read_bytes() == before


def test_when_no_photograph_could_be_read_it_fails_and_the_report_says_why(command, smear, tmp_path):
    model, out = make_model(tmp_path / "model"), tmp_path / "report"
    one_line_error(
        command("analyze", smear / "text.jpg", "--out", out, "--model", model), "none of the 1 photographs", "report"
    )
    assert "not_an_image" in (out / "record.json").read_text("utf-8")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("can't start new thread"), ImportError("libx.so: failed to map segment from object")],
)
def test_a_full_memory_is_one_line_however_it_shows(command, smear, tmp_path, monkeypatch, error):
    def full(*_args, **_more):
        raise error

    module = importlib.import_module("leukoscope.pipeline.analyze")
    monkeypatch.setattr(module, "find_sources", full)
    code, _out, err = command("analyze", smear, "--out", tmp_path / "out")
    assert code == 2 and len(err.strip().splitlines()) == 1 and "the memory is full" in err
    monkeypatch.setattr(module, "find_sources", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command("analyze", smear, "--out", tmp_path / "out")

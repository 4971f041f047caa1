"""The command line: every help has an example, every error is one line with exit code 2, nothing loads early."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import shlex
import subprocess
import sys

import pytest
from data.make_bundles import draw_field, make_model
from PIL import Image

from leukoscope import __version__, cli
from leukoscope.errors import InputError

COMMANDS = set("adapt analyze dataset demo doctor drift evaluate export models review simulate study train".split())


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every parser below one, by its words: "leukoscope dataset import"."""
    found = {parser.prog: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= parsers(sub)
    return found


ALL = parsers(cli.build_parser())


@pytest.fixture
def run(capsys):
    """Run one command in this process: (exit code, stdout, stderr)."""

    def call(*argv):
        try:
            code = cli.main([str(a) for a in argv])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def one_line_error(result, *words):
    """Exit code 2, one line on stderr that begins with the program's name and holds each of `words`."""
    code, _, err = result
    assert code == 2, err
    assert err.startswith("leukoscope: ") and err.endswith("\n") and err.count("\n") == 1, err
    for word in words:
        assert str(word) in err, err


def test_the_commands_are_these():
    assert {name.split()[1] for name in ALL if " " in name} == COMMANDS
    assert {"leukoscope dataset import", "leukoscope models show"} <= set(ALL)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_help_has_an_example_that_its_own_parser_accepts(name, run):
    code, out, err = run(*name.split()[1:], "--help")
    assert (code, err) == (0, "")
    examples = [
        line.strip()
        for line in out.split("example", 1)[1].replace("\\\n", " ").splitlines()
        if line.strip().startswith("leukoscope ")
    ]
    assert examples, out
    for example in examples:
        cli.build_parser().parse_args(example.split()[1:])  # SystemExit if an example is wrong


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_option_is_explained(name):
    for action in ALL[name]._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), f"{name} {action.dest} has no help"


def test_options_of_the_main_commands():
    def options(name):
        return {o for a in ALL[name]._actions for o in a.option_strings if o.startswith("--")} - {"--help"}

    named = {"--out", "--model", "--specimen", "--patients", "--um-per-px", "--min-cells", "--resume"}
    assert named <= options("leukoscope analyze")
    assert options("leukoscope train") == {"--data", "--out", "--resume"}
    counts = {"--against", "--specimen", "--limits", "--repeats", "--shared-only"}
    assert options("leukoscope evaluate") == {"--data", "--split", "--out"} | counts
    assert options("leukoscope simulate") >= {"--out", "--patients", "--seed"}
    assert {"--out", "--source", "--patients"} <= options("leukoscope dataset import")


def test_version(run):
    assert run("--version") == (0, f"leukoscope {__version__}\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("analyse", "x"),
        ("analyze", "x"),
        ("analyze", "x", "--out", "o", "--um-per-px", "0"),
        ("analyze", "x", "--out", "o", "--um-per-px", "nan"),
        ("analyze", "x", "--out", "o", "--min-cells", "-1"),
        ("analyze", "x", "--out", "o", "--specimen", "urine"),
        ("dataset", "import", "pascal", "src", "--out", "o"),
        ("simulate", "--out", "o", "--patients", "two", "--seed", "1"),
        ("models", "shows"),
        ("evaluate", "blood", "--data", "d", "--split", "half", "--out", "o"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_one_line(run, argv):
    one_line_error(run(*argv), "--help")


def test_wrong_paths_are_one_line_that_names_them(run, tmp_path):
    missing = tmp_path / "nowhere"
    one_line_error(run("dataset", "import", "voc", missing, "--out", tmp_path / "o"), missing)
    one_line_error(run("models", "show", missing), missing)
    one_line_error(run("evaluate", missing, "--data", tmp_path, "--split", "test", "--out", tmp_path / "o"), missing)
    one_line_error(run("analyze", missing, "--out", tmp_path / "o", "--model", make_model(tmp_path / "model")), missing)
    assert not (tmp_path / "o").exists()


def test_analyze_an_empty_folder(run, tmp_path):
    (tmp_path / "empty").mkdir()
    model = make_model(tmp_path / "model")
    one_line_error(run("analyze", tmp_path / "empty", "--out", tmp_path / "o", "--model", model), tmp_path / "empty")


@pytest.fixture
def smear(tmp_path):
    """A folder of patient P1's: one readable picture with three drawn cells and a text file called .jpg."""
    folder = tmp_path / "P1"
    folder.mkdir()
    places = [(60, 60, "lymphocyte"), (160, 70, "lymphoblast"), (120, 180, "monocyte")]
    Image.fromarray(draw_field(256, 256, places)).save(folder / "good.png")
    (folder / "text.jpg").write_text("this is no picture")
    return folder


def test_analyze_says_the_model_the_counts_and_where_the_report_is(run, smear, tmp_path):
    model, out = make_model(tmp_path / "model"), tmp_path / "report"
    code, printed, err = run("analyze", smear, "--out", out, "--model", model)
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


def test_analyze_names_the_first_pictures_that_it_could_not_read(run, smear, tmp_path):
    for name in ("a.heic", "b.svs", "c.jpg", "d.jpg", "e.jpg"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"?")
    (tmp_path / "in" / "z.png").write_bytes((smear / "good.png").read_bytes())
    code, out, _err = run("analyze", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    lines = [line for line in out.splitlines() if line.startswith("not read: ")]
    assert code == 0 and len(lines) == 4
    assert "a.heic (not_an_image)" in lines[0] and "b.svs (unsupported): this .svs is not read" in lines[1]
    assert lines[3] == "not read: 2 more; the report lists all"


def test_a_name_can_not_command_the_terminal(run, smear, tmp_path):
    pictures = tmp_path / "in" / "red\x1b[31m\nward"
    pictures.mkdir(parents=True)
    (pictures / "no\x1b[2J.png").write_bytes(b"?")
    (pictures / "yes.png").write_bytes((smear / "good.png").read_bytes())
    code, out, _err = run("analyze", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    assert code == 0 and "\x1b" not in out and "no\\x1b[2J.png" in out and "red\\x1b[31m\\nward: " in out
    _code, _out, err = run("analyze", tmp_path / "absent\x1b[31m", "--out", tmp_path / "out2")
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


def test_analyze_options_reach_the_record(run, smear, tmp_path):
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
    code, _, err = run("analyze", smear, "--out", out, "--model", model, *options)
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


def test_analyze_refuses_a_second_run_in_one_folder_unless_it_resumes(run, smear, tmp_path):
    call = ("analyze", smear, "--out", tmp_path / "report", "--model", make_model(tmp_path / "model"))
    assert run(*call)[0] == 0
    before = (tmp_path / "report" / "record.json").read_bytes()
    one_line_error(run(*call), "--resume")
    assert run(*call, "--resume")[0] == 0
    assert (tmp_path / "report" / "record.json").read_bytes() == before


def test_when_no_photograph_could_be_read_it_fails_and_the_report_says_why(run, smear, tmp_path):
    model, out = make_model(tmp_path / "model"), tmp_path / "report"
    one_line_error(
        run("analyze", smear / "text.jpg", "--out", out, "--model", model), "none of the 1 photographs", "report"
    )
    assert "not_an_image" in (out / "record.json").read_text("utf-8")


def test_models_show_prints_the_card(run, tmp_path):
    code, printed, _ = run("models", "show", make_model(tmp_path / "model"))
    assert code == 0
    assert "task: locate" in printed and "task: classify" in printed and "SHA-256" in printed


def test_import_then_evaluate(run, tmp_path):
    for split, places in (
        ("train", [(60, 60, "monocyte")]),
        ("test", [(60, 60, "lymphocyte"), (160, 150, "monocyte")]),
    ):
        for place in places:
            folder = tmp_path / "cells" / split / place[2]
            folder.mkdir(parents=True)
            Image.fromarray(draw_field(96, 96, [(48, 48, place[2])])).save(folder / f"{split}.png")
    code, printed, err = run("dataset", "import", "folders", tmp_path / "cells", "--out", tmp_path / "set")
    assert (code, err) == (0, "")
    assert "3 fields, 3 cells" in printed and "lymphocyte 1, monocyte 2" in printed
    call = (
        "evaluate",
        make_model(tmp_path / "model"),
        "--data",
        tmp_path / "set",
        "--split",
        "all",
        "--out",
        tmp_path / "results",
    )
    code, printed, err = run(*call)
    assert (code, err) == (0, "")
    assert "accuracy" in printed and (tmp_path / "results" / "metrics.json").is_file()


@pytest.mark.parametrize("data", [("--data", "a", "b"), ("--data", "a", "--data", "b")], ids=" ".join)
def test_every_data_folder_reaches_training(data):
    args = cli.build_parser().parse_args(["train", "c.toml", *data, "--out", "o"])
    assert args.data == ["a", "b"]  # a second --data adds to the first: it must never replace it in silence


def test_train_without_torch_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("train", tmp_path / "c.toml", "--data", tmp_path, "--out", tmp_path / "run")
    one_line_error(result, "pip install 'leukoscope[train]'")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("two\nlines"), 2, ["two lines"]),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, ["disk is full", "/x/y"]),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, ["no permission", "/x/y"]),
        (OSError("odd"), 2, ["odd"]),
        (KeyboardInterrupt(), 130, ["stopped", "--resume"]),
    ],
    ids=["leukoscope", "disk", "permission", "other", "ctrl-c"],
)
def test_what_stops_a_command_is_said_on_one_line(run, monkeypatch, error, code, words):
    def stop(args):
        raise error

    monkeypatch.setattr(cli.train, "run", stop)
    got, out, err = run("train", "c.toml", "--data", "d", "--out", "o")
    assert (got, out) == (code, "")
    assert err.startswith("leukoscope: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_programming_error_is_not_hidden(run, monkeypatch):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setattr(cli.train, "run", broken)
    with pytest.raises(ZeroDivisionError):
        run("train", "c.toml", "--data", "d", "--out", "o")


def test_a_closed_pipe_is_no_error():
    command = f"( sleep 0.3; {sys.executable} -m leukoscope models ) | true"  # `true` is gone when the first line comes
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_help_loads_nothing_heavy():
    """Why it starts at once (benchmarks/cost/speed.py has the seconds)."""
    code = """
import sys
from leukoscope.cli import main
try:
    main(["--help"])
except SystemExit:
    print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "argparse" in loaded
    assert not loaded & {"numpy", "PIL", "scipy", "onnxruntime", "torch", "leukoscope.pipeline", "leukoscope.report"}


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("can't start new thread"), ImportError("libx.so: failed to map segment from object")],
)
def test_a_full_memory_is_one_line_however_it_shows(run, smear, tmp_path, monkeypatch, error):
    def full(*_args, **_more):
        raise error

    module = importlib.import_module("leukoscope.pipeline.analyze")
    monkeypatch.setattr(module, "find_sources", full)
    code, _out, err = run("analyze", smear, "--out", tmp_path / "out")
    assert code == 2 and len(err.strip().splitlines()) == 1 and "the memory is full" in err
    monkeypatch.setattr(module, "find_sources", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("analyze", smear, "--out", tmp_path / "out")

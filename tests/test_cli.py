"""The command line: every help has an example, every error is one line with exit code 2, nothing loads early."""

from __future__ import annotations

import argparse
import errno
import subprocess
import sys

import pytest
from data.cli_lines import one_line_error
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


def test_the_commands_are_these():
    assert {name.split()[1] for name in ALL if " " in name} == COMMANDS
    assert {"leukoscope dataset import", "leukoscope models show"} <= set(ALL)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_help_has_an_example_that_its_own_parser_accepts(name, command):
    code, out, err = command(*name.split()[1:], "--help")
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


def test_version(command):
    assert command("--version") == (0, f"leukoscope {__version__}\n", "")


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
def test_wrong_arguments_are_one_line(command, argv):
    one_line_error(command(*argv), "--help")


def test_wrong_paths_are_one_line_that_names_them(command, tmp_path):
    missing = tmp_path / "nowhere"
    one_line_error(command("dataset", "import", "voc", missing, "--out", tmp_path / "o"), missing)
    one_line_error(command("models", "show", missing), missing)
    one_line_error(
        command("evaluate", missing, "--data", tmp_path, "--split", "test", "--out", tmp_path / "o"), missing
    )
    one_line_error(
        command("analyze", missing, "--out", tmp_path / "o", "--model", make_model(tmp_path / "model")), missing
    )
    assert not (tmp_path / "o").exists()


def test_models_show_prints_the_card(command, tmp_path):
    code, printed, _ = command("models", "show", make_model(tmp_path / "model"))
    assert code == 0
    assert "task: locate" in printed and "task: classify" in printed and "SHA-256" in printed


def test_import_then_evaluate(command, tmp_path):
    for split, places in (
        ("train", [(60, 60, "monocyte")]),
        ("test", [(60, 60, "lymphocyte"), (160, 150, "monocyte")]),
    ):
        for place in places:
            folder = tmp_path / "cells" / split / place[2]
            folder.mkdir(parents=True)
            Image.fromarray(draw_field(96, 96, [(48, 48, place[2])])).save(folder / f"{split}.png")
    code, printed, err = command("dataset", "import", "folders", tmp_path / "cells", "--out", tmp_path / "set")
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
    code, printed, err = command(*call)
    assert (code, err) == (0, "")
    assert "accuracy" in printed and (tmp_path / "results" / "metrics.json").is_file()


@pytest.mark.parametrize("data", [("--data", "a", "b"), ("--data", "a", "--data", "b")], ids=" ".join)
def test_every_data_folder_reaches_training(data):
    args = cli.build_parser().parse_args(["train", "c.toml", *data, "--out", "o"])
    assert args.data == ["a", "b"]  # a second --data adds to the first: it must never replace it in silence


def test_train_without_torch_says_what_to_install(command, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = command("train", tmp_path / "c.toml", "--data", tmp_path, "--out", tmp_path / "run")
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
def test_what_stops_a_command_is_said_on_one_line(command, monkeypatch, error, code, words):
    def stop(args):
        raise error

    monkeypatch.setattr(cli.train, "run", stop)
    got, out, err = command("train", "c.toml", "--data", "d", "--out", "o")
    assert (got, out) == (code, "")
    assert err.startswith("leukoscope: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_programming_error_is_not_hidden(command, monkeypatch):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setattr(cli.train, "run", broken)
    with pytest.raises(ZeroDivisionError):
        command("train", "c.toml", "--data", "d", "--out", "o")


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

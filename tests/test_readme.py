"""The README is under test: commands parse and run, the example runs, links lead somewhere, numbers are measured."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.table import headlines, results_table, written_into
from leukoscope import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, text in BLOCKS if language == "" for line in text.splitlines() if line.strip()]


def command(*words, cwd):
    """Run `leukoscope` in a folder, as a user would; its output."""
    done = subprocess.run([sys.executable, "-m", "leukoscope", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    """A working folder with one rendered patient in photographs/."""
    folder = tmp_path_factory.mktemp("readme")
    command("simulate", "--out", "smears", "--patients", "1", "--seed", "7", cwd=folder)
    shutil.copytree(folder / "smears" / "images", folder / "photographs")
    return folder


def test_the_commands_of_the_readme_are_known():
    assert len(COMMANDS) >= 8
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in COMMANDS:
        first, *words = shlex.split(line)
        if first == "leukoscope":
            cli.build_parser().parse_args(words)  # SystemExit if the README is wrong
        elif first == "make":
            assert set(words) <= targets
        else:
            assert (first, words[0]) in (("pip", "install"), ("python3", "-m"), (".", ".venv/bin/activate")), line


def test_named_targets_and_configs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    texts = README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert set(re.findall(r"`make ([a-z-]+)`", texts)) <= targets
    for config in re.findall(r"configs/\S+\.toml", texts):
        assert (ROOT / config).is_file(), config


def test_the_library_example_is_five_lines_and_runs(smears):
    (example,) = [text for language, text in BLOCKS if language == "python"]
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    example = example.replace('"report"', '"report-of-the-library"')  # the command's test writes into report/
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=smears, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lymphocyte" in done.stdout and "blasts" in done.stdout
    assert (smears / "report-of-the-library" / "report.html").is_file()


def test_the_main_command_runs(smears):
    (line,) = [
        c for c in COMMANDS if c.startswith("leukoscope analyze photographs/ --out report") and "--model" not in c
    ]
    out = command(*shlex.split(line)[1:], cwd=smears)
    assert "report.html" in out and "blood" in out
    assert {f.name for f in (smears / "report").iterdir()} >= {"record.json", "cells.csv", "report.html"}


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/intended-use.md"):
        text = (ROOT / name).read_text("utf-8")
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name} links {link}"


def test_research_use_is_said_at_the_top():
    top = " ".join(README.split("## ")[0].split())
    assert "Research use only. Not for diagnosis. A morphologist must review." in top


def test_the_table_is_that_of_the_results():
    results = (ROOT / "docs" / "results.md").read_text("utf-8")
    assert written_into(results, results_table()) == results, "run `make table`"
    assert written_into(README, headlines()) == README, "run `make table`"


def test_a_headline_whose_result_is_gone_is_told(tmp_path):
    (tmp_path / "locate_accuracy.csv").write_text("set,measure,value,low,high,threshold,met\n")
    with pytest.raises(LookupError, match="locate_accuracy.csv has no row '"):
        headlines(tmp_path)


def test_the_table_takes_what_was_asked_from_each_file(tmp_path):
    (tmp_path / "located.csv").write_text(
        "set,measure,value,low,high,threshold,met,commit\n"
        "bccd,AP50,0.98765,0.97,0.99,>= 0.98,yes,abc\n"
        "draaslan,AP50,0.991,0.985,0.99,>= 0.98,no,abc\n"
        "bccd,recall,0.9,,,,,abc\n"
        "analyze,images/s against a plain script,2.6,,,>= 2.5,yes,abc\n"
    )
    (tmp_path / "damaged_images.csv").write_text(
        "damage,n,crash,hang,unlisted,missing_from_record\nbits,5,0,0,0,\nall,2000,0,1,0,0\n"
    )
    assert results_table(tmp_path).splitlines()[2:] == [
        "| 2000 damaged images | crashes, hangs, missing from the report | 1 | 0 | no | damaged_images |",
        "| bccd (development set) | AP50 | 0.988 (0.970 to 0.990) | >= 0.98 | not told apart | located |",
        "| draaslan (development set) | AP50 | 0.991 (0.985 to 0.990) | >= 0.98 | yes | located |",
        "| analyze | images/s against a plain script | 2.600 | >= 2.5 | yes | located |",
    ]

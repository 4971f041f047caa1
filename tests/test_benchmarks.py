"""`benchmarks/`: what result files and docs name is there, and the harness prints, writes and judges."""

import csv
import re
import sys

import pytest

from benchmarks import harness
from benchmarks.__main__ import TOPICS, listed
from benchmarks.provenance import RESULTS, ROOT

NAMED = re.compile(r"(?:python -m (benchmarks(?:\.\w+)+))|(benchmarks/\w+(?:/\w+)?\.(?:py|toml))")


def test_scripts_that_docs_and_configurations_name_are_there():
    # A model's card says what was typed when it was made.
    pages = [p for p in ROOT.glob("docs/**/*.md") if "model-cards" not in p.parts]
    for path in [*pages, *ROOT.glob("configs/**/*.toml"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]:
        for module, file in NAMED.findall(path.read_text("utf-8")):
            assert (ROOT / (file or module.replace(".", "/") + ".py")).is_file(), f"{path.name}: {module or file}"


def test_commands_of_result_files_name_scripts_that_are_there():
    for path in sorted(RESULTS.glob("*.csv")):
        for row in csv.DictReader(path.read_text("utf-8").splitlines()):
            for module, file in NAMED.findall(row.get("command") or ""):
                script = ROOT / (module.replace(".", "/") + ".py")
                assert module and script.is_file(), f"{path.name}: {module or file}"


def test_every_script_is_listed_under_its_topic():
    folders = {p.parent.name for p in (ROOT / "benchmarks").glob("*/*.py")}
    assert folders == set(TOPICS)
    assert not [p for p in (ROOT / "benchmarks").glob("*.py") if f"benchmarks.{p.stem}" in "\n".join(listed())]


def two_rows(args: harness.Args) -> harness.Rows:
    yield {"set": "drawn", "measure": "lost", "value": args.lost, "threshold": "<= 0"}
    yield "of_its_own", {"measure": "beside"}
    return {"seed": 7}


LOST = harness.option("--lost", type=int, default=0)


def rows_of(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_a_measurement_prints_its_rows_and_writes_them_with_where_they_come_from(tmp_path, capsys):
    harness.benchmark(two_rows, LOST, words=["--out", str(tmp_path)])
    (row,), (beside,) = rows_of(tmp_path / "test_benchmarks.csv"), rows_of(tmp_path / "of_its_own.csv")
    assert (row["value"], row["met"], row["seed"], beside["measure"], beside["seed"]) == (
        "0",
        "yes",
        "7",
        "beside",
        "7",
    )
    assert row["commit"] and row["machine"] and row["command"]
    assert "'measure': 'lost'" in capsys.readouterr().out


def test_a_measurement_that_lost_something_ends_with_one_after_it_is_written(tmp_path):
    with pytest.raises(SystemExit, match="1"):
        harness.benchmark(two_rows, LOST, words=["--out", str(tmp_path), "--lost", "2"])
    assert rows_of(tmp_path / "test_benchmarks.csv")[0]["met"] == "no"


def stopped_rows(args: harness.Args) -> harness.Rows:
    yield {"set": "a", "measure": "first", "value": 1}
    yield {"set": "a", "measure": "second", "value": 2}
    raise KeyboardInterrupt


def test_a_stopped_measurement_leaves_what_it_has_beside_the_whole_file_of_before(tmp_path):
    whole = tmp_path / "test_benchmarks.csv"
    whole.write_text("set\nof before\n")
    with pytest.raises(KeyboardInterrupt):
        harness.benchmark(stopped_rows, words=["--out", str(tmp_path)])
    left = tmp_path / harness.UNFINISHED / whole.name
    assert [row["measure"] for row in rows_of(left)] == ["first", "second"]
    assert whole.read_text() == "set\nof before\n"
    harness.benchmark(two_rows, LOST, words=["--out", str(tmp_path)])
    assert not left.exists() and rows_of(whole)


def test_a_dry_or_quick_measurement_leaves_the_committed_files_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    harness.benchmark(two_rows, LOST, words=["--dry-run"])
    harness.benchmark(two_rows, LOST, harness.QUICK, words=["--quick"])
    assert not list(tmp_path.iterdir())
    harness.benchmark(two_rows, LOST, words=[])
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_childs_peak_is_its_own_and_not_its_parents():
    ballast = bytearray(400 << 20)
    ballast[:: 1 << 12] = b"x" * len(ballast[:: 1 << 12])  # every page is there
    child = harness.spent("calendar", "2026", "11")
    assert harness.peak_mib() > 400 > 100 > child.peak_mib > 5
    assert "November 2026" in child.stdout and 0 < child.cpu_s <= child.wall_s * 4
    with pytest.raises(SystemExit, match="calendar --of-a-kind ended with exit code 2"):
        harness.spent("calendar", "--of-a-kind")

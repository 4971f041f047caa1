"""`benchmarks/`: what result files and docs name is there, and the harness prints, writes and judges."""

import csv
import re

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

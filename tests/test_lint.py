"""What `make lint` asks: mypy finds nothing in what is held to its types, a list that never shrinks; ruff nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HELD = (
    "contours.py", "cores.py", "count.py", "crop.py", "crop_contour.py", "doctor.py", "entries.py", "errors.py",
    "evaluate", "files.py", "flags.py", "geometry.py", "images", "intervals.py", "locate.py", "models/__init__.py",
    "models/bundle.py", "models/card_text.py", "models/runtime.py", "models/words.py", "practice.py", "quantify",
    "scale.py", "taxonomy", "types.py",
)  # fmt: skip


NOT_YET = r"evaluate/(location|predict|run|two_stage)\.py$"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]


def test_the_list_of_what_is_held_to_its_types_only_grows():
    gone = sorted({f"src/leukoscope/{name}" for name in HELD} - set(SETTINGS["files"]))
    assert not gone, f"no longer held to their types: {', '.join(gone)}"
    assert all((ROOT / name).exists() for name in SETTINGS["files"])
    assert len("".join(SETTINGS["exclude"])) <= len(NOT_YET)


@pytest.mark.slow
def test_mypy_finds_nothing_in_them():
    """With mypy's cache in the checkout: a second run reads what changed."""
    pytest.importorskip("mypy", reason="types are checked with the extra: pip install '.[test]'")
    found = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("words", (("check",), ("format", "--check")), ids=" ".join)
def test_ruff_finds_nothing(words):
    pytest.importorskip("ruff", reason="lint comes with the extra: pip install '.[test]'")
    found = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "src", "tests", "benchmarks"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr

"""CONTRIBUTING's "To add a …", followed: as many files as it says, and nothing else has to be touched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from leukoscope.evaluate import readings
from leukoscope.report.colors import class_colors
from leukoscope.report.words import class_words
from leukoscope.taxonomy import Taxonomy, nearest_class, vocabulary

ROOT = Path(__file__).resolve().parent.parent
MOST_FILES = {"class": 1, "format": 2, "backbone": 2, "column": 1, "measure": 2}


@pytest.mark.parametrize("what", MOST_FILES)
def test_a_recipe_has_five_lines_and_names_no_more_files_than_asked(what):
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (recipe,) = re.findall(rf"## To add a {what}\n\n(.*?)\n\n(?=## )", text, re.S)
    assert len(re.findall(r"^\d\. ", recipe, re.M)) == 5
    files = set(re.findall(r"`(src/leukoscope/[^`]+)`", recipe))
    assert 1 <= len(files) <= MOST_FILES[what], files
    assert all((ROOT / name).exists() for name in files)


def test_a_new_class_needs_the_vocabulary_alone(monkeypatch):
    monkeypatch.setitem(vocabulary.VOCABULARY, "giant_band", "a band neutrophil of twice the size")
    monkeypatch.setitem(vocabulary.PARENTS, "giant_band", "band_neutrophil")
    assert nearest_class("giant_band", ("neutrophil",)) == "neutrophil"
    assert class_words("giant_band") == "giant band" and class_colors(("giant_band",))[0].startswith("#")
    taxonomy = Taxonomy("own", ("giant_band", "lymphocyte"), counted=("giant_band", "lymphocyte"))
    assert taxonomy.denominator("blood") == ("giant_band", "lymphocyte")


def test_a_new_measure_is_a_row(monkeypatch):
    monkeypatch.setitem(readings.MEASURES, "error", lambda reading, present, rows: 0.25)
    truth = np.arange(20) % 2
    reading = readings.Reading("as_labelled", ("a", "b"), np.arange(20), truth, truth, np.full(20, 0.9))
    scores = readings.score_reading(reading, np.arange(20) // 2, ["a", "b"] * 10)
    assert scores["error"]["value"] == 0.25 and scores["accuracy"]["value"] == 1.0


def test_a_new_backbone_is_a_row(monkeypatch):
    torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    from leukoscope.models import torch_backbones, torch_trunks

    class Mean(torch.nn.Module):
        width, pixel_scale = 3, torch_trunks.LITE

        def forward(self, x):
            return x, x.mean((2, 3))

    monkeypatch.setitem(torch_trunks.TRUNKS, "mean", lambda weights, *, size, norms: Mean())
    network = torch_backbones.build_network("mean", 4, weights=None, size=32)
    assert network(torch.zeros(2, 32, 32, 3)).shape == (2, 4)


# What is of the whole house, or of one decision through several rooms.
WHOLE = (
    "benchmarks",
    "clinical_rules",
    "contributing",
    "damaged_files",
    "dinobloom",
    "docs",
    "first_hour",
    "layers",
    "lint",
)
WHOLE += ("packaging", "readme")


def test_tests_are_found_from_the_names_of_their_modules():
    """`tests/test_web_settings.py` begins with a module or a room of src or benchmarks, in one number or the other."""
    files = (*(ROOT / "src" / "leukoscope").rglob("*"), *(ROOT / "benchmarks").rglob("*.py"))
    names = {p.stem for p in files if p.suffix == ".py" or p.is_dir()} - {"__pycache__"}

    def is_found(words: list[str]) -> bool:
        begins = ["_".join(words[:n]) for n in range(1, len(words) + 1)]
        return any(b in WHOLE or {b, f"{b}s", b.removesuffix("s")} & names for b in begins)

    files = [f.stem for f in (ROOT / "tests").glob("test_*.py")]
    assert not [f for f in files if not is_found(f.split("_")[1:])], "rename them, or see WHOLE"


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_no_file_of_tests_or_measurements_is_long(folder):
    long = {f.name for f in (ROOT / folder).rglob("*.py") if len(f.read_text("utf-8").splitlines()) > 345}
    assert long <= {"damaged_originals.py"}  # one function a kind of file

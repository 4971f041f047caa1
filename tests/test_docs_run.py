"""The commands of the docs run as they are shown, page by page in a folder of drawn cells, or say which test runs them.

Trainings take two steps and simulations draw few patients; every other word is the page's own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from data.make_bundles import draw_field, scatter_cells
from data.make_untrained import make_coloured_site
from PIL import Image
from test_docs import DOCS, PAGES, ROOT, commands

from leukoscope.cli import main
from leukoscope.dataset.manifest import read_dataset, write_dataset

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")

# What other tests run with data of its own kind: the start of a command, and the test.
ELSEWHERE = (
    (
        "leukoscope adapt blood --locator",
        "test_adapt_locator.py::test_a_better_locator_is_written_beside_the_other_parts",
    ),
    ("leukoscope adapt blood --from", "test_web_learn.py"),
    ("leukoscope adapt blood --data photographs/ --unlabelled", "test_adapt_profile.py"),
    ("leukoscope train configs/pcm/deim", "test_detector_export.py"),
    ("leukoscope evaluate runs/deim", "test_detector_export.py"),
    ("leukoscope train configs/dinobloom-s.toml", "test_dinobloom.py"),
    ("leukoscope evaluate runs/dinobloom-s", "test_evaluate_model.py"),
    ("leukoscope analyze photographs/ --model runs/dinobloom-s", "test_dinobloom.py"),
    ("leukoscope evaluate report/ --against", "test_laboratory.py"),
    ("leukoscope evaluate reader-b.csv", "test_laboratory.py"),
    ("leukoscope review", "test_web_server.py"),
    ("leukoscope study pcm", "test_study_pcm.py"),
    ("leukoscope dataset import cvat PCM/task_1", "test_dataset_sources.py"),
    ("leukoscope dataset import xyc ALL_IDB1/", "test_dataset_sources.py"),
    ("leukoscope dataset import folders Munich/", "test_dataset_sources.py"),
    ("leukoscope demo", "test_demo.py"),
    # Cohorts take half a minute to draw.
    ("leukoscope simulate --out cohort", "test_simulate_cohort.py"),
    ("leukoscope simulate --out hard", "test_simulate_cohort.py"),
    ("leukoscope dataset import cvat cohort/cvat", "test_simulate_cohort.py"),
    ("leukoscope dataset split set --by patient --test 0.15", "test_dataset_splitting.py"),
    ("leukoscope analyze smears/images --out report --um-per-px 0.1", "test_readme.py"),
    # As docs/adaptation.md has them, where they run.
    ("leukoscope adapt blood --data smears", "test_adapt_site.py"),
    ("leukoscope adapt marrow --data sets/our-marrow", "test_adapt_site.py"),
    ("leukoscope analyze smears/images --out report-ours --model models/ours", "test_adapt_site.py"),
    ("leukoscope analyze photographs/ --specimen marrow --model models/our-marrow", "test_adapt_site.py"),
)
FEW = {"--patients": "2", "--centers": "2", "--fields": "1"}  # what `simulate` is given in place of the page's numbers


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with what the pages speak of: photographs/, patients.csv, annotations/, sets/…, configs/."""
    folder = tmp_path_factory.mktemp("docs")
    dataset = read_dataset(make_coloured_site(folder / "site", n=36, unlabelled=0))
    fields = tuple(
        replace(f, key=replace(f.key, patient_id=f"p{i // 4}"), split=("train", "train", "val", "test")[i // 4 % 4])
        for i, f in enumerate(dataset.fields)
    )
    for name in ("ours", "mine", "pbc", "cnmc"):
        write_dataset(replace(dataset, name=name, fields=fields), folder / "sets" / name)
    assert main(["dataset", "export", "cvat", str(folder / "sets" / "ours"), "--out", str(folder / "annotations")]) == 0
    (folder / "photographs").mkdir()
    cells = scatter_cells(np.random.default_rng(0), 200, 256, 3, apart=75)
    Image.fromarray(draw_field(200, 256, cells)).save(folder / "photographs" / "a.png")
    (folder / "patients.csv").write_text("file,patient_id\na.png,p1\n")
    (folder / "configs").mkdir()
    text = (ROOT / "configs" / "my-classifier.toml").read_text("utf-8")
    for key, few in (("steps", 2), ("batch_size", 4), ("size", 64)):
        text = re.sub(rf"^{key} = \d+", f"{key} = {few}", text, flags=re.MULTILINE)
    (folder / "configs" / "my-classifier.toml").write_text(text)
    return folder


def is_elsewhere(line: str) -> bool:
    return any(line.startswith(start) for start, _ in ELSEWHERE)


def test_the_tests_that_run_the_others_are_there_and_every_line_of_the_list_is_needed():
    lines = [line for page in PAGES for line in commands(page)]
    for start, where in ELSEWHERE:
        file, _, test = where.partition("::")
        assert f"def {test or 'test_'}" in (ROOT / "tests" / file).read_text("utf-8"), where
        assert any(line.startswith(start) for line in lines), f"no page shows {start} any more"


@pytest.mark.parametrize(
    "page", [p for p in PAGES if not all(map(is_elsewhere, commands(p)))], ids=lambda p: str(p.relative_to(DOCS))
)
def test_the_commands_of_a_page_run_one_after_the_other(page, drawn, tmp_path, monkeypatch, capsys):
    shutil.copytree(drawn, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    for line in commands(page):
        if is_elsewhere(line):
            continue
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "simulate":
            few = FEW if "--centers" in words else {"--patients": "1"}
            words = [few.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        if "--out" in words and (out := Path(words[words.index("--out") + 1])).is_dir():
            shutil.rmtree(out)  # the page shows another way to the same
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
        found_something = words[:2] == ["dataset", "audit"] and code == 1
        assert code == 0 or found_something, f"{line}\n{capsys.readouterr().err}"

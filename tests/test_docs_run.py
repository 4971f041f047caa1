"""The commands of the docs run as they are shown, page by page in a folder of drawn cells, or say which test runs them.

Trainings take two steps and simulations draw few patients; every other word is the page's own.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from data.make_bundles import draw_field, scatter_cells
from data.make_layouts import make_all_idb1, make_munich, make_pcm
from data.make_slide import make_slide
from data.make_untrained import make_coloured_site
from PIL import Image
from test_docs import PAGES, ROOT, commands

from leukoscope.cli import main
from leukoscope.dataset.manifest import read_dataset, write_dataset

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
from data.stand_ins import RUNS_IN, stand_in  # noqa: E402

# Run by the tests that are named, which give the command its very options.
ELSEWHERE = {
    "leukoscope demo --out demo": ("test_demo.py", "test_the_command_prints_both_and_fails_where_they_differ"),
    "leukoscope drift july --reference june": (
        "test_drift.py",
        "test_the_command_says_a_line_writes_a_page_and_leaves_with_3",
    ),
}
# Long ones, and what reads their models: another page shows them with other paths, and runs them.
LONG = {
    "tutorial.md": ("leukoscope adapt", "leukoscope analyze smears/images --out report-ours"),
    "README.md": (
        "leukoscope train", "leukoscope evaluate", "leukoscope adapt", "leukoscope analyze photographs/ --out report-",
    ),
}  # fmt: skip
PATIENTS = {"pcm.md": ("P1.jpg",), "README.md": tuple(f"{n:02}.png" for n in range(36))}
SHOWN = [*PAGES, ROOT / "README.md"]
FEW = {"--patients": "4", "--centers": "2", "--fields": "1"}  # what `simulate` is given in place of the page's numbers


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with what the pages speak of: photographs/, patients.csv, annotations/, sets/…, configs/."""
    folder = tmp_path_factory.mktemp("docs")
    dataset = read_dataset(make_coloured_site(folder / "site", n=36, unlabelled=0))
    fields = tuple(
        replace(f, key=replace(f.key, patient_id=f"p{i // 4}"), split=("train", "train", "val", "test")[i // 4 % 4])
        for i, f in enumerate(dataset.fields)
    )
    for name in ("ours", "mine", "pbc", "cnmc", "corrected", "our-marrow"):
        write_dataset(replace(dataset, name=name, fields=fields), folder / "sets" / name)
    (folder / "DATA").symlink_to(folder / "sets" / "ours")
    assert main(["dataset", "export", "cvat", str(folder / "sets" / "ours"), "--out", str(folder / "annotations")]) == 0
    (folder / "photographs").mkdir()
    for number in range(3):
        cells = scatter_cells(np.random.default_rng(number), 200, 256, 3, apart=75)
        Image.fromarray(draw_field(200, 256, cells)).save(folder / "photographs" / f"{number}.png")
    (folder / "patients.csv").write_text("file,patient_id\n" + "".join(f"{n}.png,p{n}\n" for n in range(3)))
    for reader in "ab":
        rows = "".join(f"p{n},60,{30 + n},10\n" for n in range(3))
        (folder / f"reader-{reader}.csv").write_text("patient_id,neutrophil,lymphocyte,monocyte\n" + rows)
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_text("nobody asks for it here")
    make_pcm(folder / "PCM" / "task_1", "cvat")
    make_all_idb1(folder / "ALL_IDB1")
    make_munich(folder / "Munich")
    cells = scatter_cells(np.random.default_rng(1), 960, 960, 9, apart=75)
    make_slide(folder / "slide.svs", draw_field(960, 960, cells))
    shutil.copytree(ROOT / "configs", folder / "configs")
    text = (ROOT / "configs" / "my-classifier.toml").read_text("utf-8")
    for key, few in (("steps", 2), ("batch_size", 4), ("size", 64)):
        text = re.sub(rf"^{key} = \d+", f"{key} = {few}", text, flags=re.MULTILINE)
    (folder / "configs" / "my-classifier.toml").write_text(text)
    return folder


def shape(line: str) -> list[str]:
    """A command without its paths and numbers: its words and options in their order of the alphabet."""
    words = shlex.split(line, comments=True)[1:]
    values = {i + 1 for i, word in enumerate(words) if word.startswith("--")}
    return sorted(w for i, w in enumerate(words) if w.startswith("--") or (i not in values and re.match(r"[a-z]+$", w)))


def elsewhere(line: str, page: Path) -> bool:
    return line in ELSEWHERE or line.startswith(LONG.get(page.name, ("nothing",)))


def test_what_runs_elsewhere_does():
    """A named test holds the command's words; a long one stands in the same shape on a page where it runs."""
    for line, where in ELSEWHERE.items():
        assert any(line in commands(page) for page in SHOWN), f"no page shows {line} any more"
        assert set(shlex.split(line)[1:2] + [w for w in shlex.split(line) if w.startswith("--")]) <= words_of(where)
    others = [shape(line) for page in PAGES for line in commands(page) if not elsewhere(line, page)]
    long = [line for page in SHOWN for line in commands(page) if elsewhere(line, page) and line not in ELSEWHERE]
    assert long and all(shape(line) in others for line in long)


def words_of(where: tuple[str, str]) -> set[str]:
    """The texts in the code of a test: its file, its name."""
    file, name = where
    (test,) = (n for n in ast.parse((ROOT / "tests" / file).read_text("utf-8")).body if getattr(n, "name", "") == name)
    return {n.value for n in ast.walk(test) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_what_is_stood_in_for_has_a_test():
    assert all(words_of(where) for where in RUNS_IN.values())


@pytest.mark.parametrize("page", [p for p in SHOWN if commands(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_commands_of_a_page_run_one_after_the_other(page, drawn, tmp_path, monkeypatch, capsys):
    stand_in(monkeypatch)
    shutil.copytree(drawn, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    if page.name in PATIENTS:
        Path("patients.csv").write_text("file,patient_id\n" + "".join(f"{f},p-{f}\n" for f in PATIENTS[page.name]))
    for line in commands(page):
        if elsewhere(line, page):
            continue
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "simulate":
            words = with_few(words)
        words += ["--port", "0"] * (words[0] == "review" and not {"--add-reader", "--export"} & set(words))
        words += ["--whole"] * ("slide.svs" in words)  # discs are no smear, in which a monolayer would be found
        if "--out" in words and (out := Path(words[words.index("--out") + 1])).is_dir():
            shutil.rmtree(out)  # the page shows another way to the same
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
        found_something = words[:2] == ["dataset", "audit"] and code == 1
        assert code in (0, None) or found_something, f"{line}\n{capsys.readouterr().err}"


def with_few(words: list[str]) -> list[str]:
    """Of `simulate` fewer patients, centres and fields."""
    few = FEW if "--centers" in words else {"--patients": "1"}
    fewer = [few.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return fewer + ["--fields", "1"] * ("--centers" in fewer and "--fields" not in fewer)

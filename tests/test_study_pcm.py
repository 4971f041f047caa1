"""The PCM study in miniature: every row from manifests to tables and page, in seconds."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_study import PCM_CLASSES, ROWS, paint_study_set, study_folder

torch = pytest.importorskip("torch", reason="a study needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="a study needs the extra: pip install '.[study]'")

from leukoscope.cli import main  # noqa: E402
from leukoscope.errors import ConfigError, InputError  # noqa: E402
from leukoscope.experiments import rows as row_module  # noqa: E402
from leukoscope.experiments.pcm import report  # noqa: E402
from leukoscope.experiments.pcm import study as study_module  # noqa: E402
from leukoscope.experiments.pcm.boxes import load_boxes  # noqa: E402
from leukoscope.experiments.pcm.data import Folders  # noqa: E402
from leukoscope.experiments.pcm.study import run_study  # noqa: E402
from leukoscope.images import read_field  # noqa: E402
from leukoscope.locate import locate  # noqa: E402
from leukoscope.models.bundle import find_model  # noqa: E402
from leukoscope.models.runtime import Session  # noqa: E402

TARGET = ("band_neutrophil", "lymphocyte", "monocyte", "erythroblast")  # finer, the same, and one that PCM lacks


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {
        "data": paint_study_set(folder / "data", name="painted", patients=9, splits=("train", "train", "val", "test")),
        "external": paint_study_set(
            folder / "external", name="outside", classes=("lymphocyte", "lymphoblast"), patients=2, tint=20, seed=1
        ),
        "target": paint_study_set(
            folder / "target", name="site", classes=TARGET, patients=10, tint=-20, seed=2, single=True
        ),
    }


def all_of(sets: dict[str, Path]) -> Folders:
    """The sets in their roles."""
    return Folders(sets["data"], (sets["external"],), sets["target"])


@pytest.fixture(scope="module")
def done(sets, tmp_path_factory):
    """The whole study once, yolo not installed."""
    folder = tmp_path_factory.mktemp("study")
    config = study_folder(folder / "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study_module.EXTRAS, "yolo", ("no_such_module",))
        lines: list[str] = []
        run = run_study(config, all_of(sets), folder / "out", say=lines.append)
    return run, lines


@pytest.fixture
def no_page(monkeypatch):
    """Rows without figures and tables, which take most of a tiny study's time."""
    monkeypatch.setattr(report, "write_study", lambda run: None)


def table(run, name: str) -> list[dict[str, str]]:
    text = (run.out / "tables" / f"{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_row_is_done_but_the_one_whose_extra_is_missing(done):
    run, lines = done
    states = {name: row.status for name, row in run.rows.items()}
    assert states.pop("yolo-nine") == "not installed"
    assert set(states.values()) == {"done"}, {n: r.reason for n, r in run.rows.items() if not r.is_done}
    assert lines[0].startswith("audit: nothing stands on two sides")
    assert run.rows["deim-nine"].commit and "core" in run.rows["deim-nine"].machine


def test_the_tables_are_laid_out_as_the_papers(done):
    run, _ = done
    assert [r["Dataset Split"] for r in table(run, "table2")] == ["Train/Val", "Test", "Total"]
    assert [int(r["Image Count"]) for r in table(run, "table2")] == [14, 4, 18]
    third = table(run, "table3")
    assert list(third[0])[:4] == ["Cell Type", "Train/Val", "Test", "Overall"]
    assert len(third) == 10 and third[-1]["Cell Type"] == "Total" and third[-1]["Overall"] == "72"
    for name in ("table4", "table5"):
        assert list(table(run, name)[0])[:3] == ["Model", "Test Dataset", "mAP50-95 (%)"]
    assert list(table(run, "table6")[0])[:3] == ["Model", "Test Dataset", "F1-Score (Macro) (%)"]
    assert list(table(run, "table7")[0])[:3] == ["Training Strategy", "Test Dataset", "F1-Score (Macro) (%)"]


def test_a_row_that_is_not_installed_says_so_in_its_table(done):
    run, _ = done
    (row,) = [r for r in table(run, "table4") if r["Model"] == "YOLO11n"]
    assert "not installed" in row["Remark"] and "leukoscope[yolo]" in row["Remark"] and row["mAP50-95 (%)"] == ""
    assert {r["Test Dataset"] for r in table(run, "table4")} >= {"painted (internal test)", "outside (external)"}


def test_numbers_have_limits_denominators_and_their_unit(done):
    run, _ = done
    for row in table(run, "table6"):
        low, value, high = (float(row[f"Accuracy (%){k}"]) for k in (" low", "", " high"))
        assert low <= value <= high
        assert row["Accuracy (%) unit"] == "patient" and int(row["Accuracy (%) groups"]) == 2
        assert row["Cells"] in ("14", "16")  # 16 cells of two test patients, two of them "other"


def test_classes_that_a_set_lacks_are_named_and_left_out_of_the_mean(done):
    run, _ = done
    outside = [r for r in table(run, "table6") if r["Test Dataset"] == "outside (external)"]
    assert all("neutrophil" in r["Remark"] and "lymphoblast" not in r["Remark"] for r in outside)
    remark = next(r["Remark"] for r in table(run, "table7") if r["Training Strategy"] == "Net A: zero-shot")
    assert "left out: erythroblast" in remark and "basophil" in remark
    labels = {(r["Set"], r["Its class"]): r["Called as (crops)"] for r in table(run, "labels")}
    assert labels["site", "band_neutrophil"] == "neutrophil" and labels["site", "erythroblast"] == "–"
    assert labels["painted", "other"] == "–"  # artefacts are located, not called


def test_adaptation_is_tested_on_the_rest(done):
    run, _ = done
    result = run.rows["adaptation"].result
    n, labelled = result["n_cells"], result["n_labelled"]
    assert n == 15 and labelled == [4, 4]  # 20 cells, five erythroblasts without a class here; a quarter of 15
    methods = [r for r in table(run, "table7") if r["Test Dataset"] == "site (the rest)"]
    assert len(methods) == 3 and {r["Cells"] for r in methods} == {"11"}
    saved = [np.load(p)["labelled"] for p in sorted(run.rows["adaptation"].folder.glob("logistic-*.npz"))]
    assert not np.array_equal(*saved)  # two draws


def test_paired_differences_and_end_to_end_stand_beside(done):
    run, _ = done
    pairs = {(r["System"], r["minus"], r["Measure"]) for r in table(run, "differences")}
    assert ("Net B", "Net A", "Accuracy") in pairs
    assert ("DEIM tiny, then Net A", "DEIM tiny", "macro-F1 end to end") in pairs
    kinds = {r["Kind"] for r in table(run, "two_stage") if r["mAP50 (%)"]}
    assert kinds == {"one stage", "two stages"}


def test_the_page_says_what_was_measured_on_what_and_loads_nothing(done):
    run, _ = done
    page = run.page.read_text("utf-8")
    first = page[: page.index('<section id="data"')]
    for words in ("painted, 18 photographs", "as the set states it", "nothing stands on two sides", "Commit", "Machine",
                  "Research use only", "Not a diagnosis", "by patient"):  # fmt: skip
        assert words in first, words
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<figure") > 8
    names = {p.stem for p in (run.out / "figures").iterdir()}
    assert {"class-distribution", "contact-sheet-1", "contact-sheet-2", "confusion-net-a-test", "pr-deim-wbc-test",
            "training-net-a", "training-deim-nine", "reliability-0", "handed-over-0"} <= names  # fmt: skip


def test_every_classifier_leaves_a_bundle(done):
    run, _ = done
    from leukoscope.models.bundle import read_bundle

    card = read_bundle(run.rows["net-a"].folder / "bundle").card
    assert card.task == "classify" and "other" not in card.taxonomy.names


def test_finished_rows_are_not_run_again_and_other_settings_are_refused(done, sets, tmp_path, monkeypatch, no_page):
    run, _ = done
    monkeypatch.setitem(study_module.EXTRAS, "yolo", ("no_such_module",))
    monkeypatch.setattr(study_module, "_work", lambda *a, **k: pytest.fail("a finished row was run again"))
    again = run_study(run.config.folder, all_of(sets), run.out, only=["two-stage"])
    assert again.rows["two-stage"].seconds == run.rows["two-stage"].seconds
    config = study_folder(tmp_path / "config", head="seed = 5")
    with pytest.raises(ConfigError, match="other settings or other data"):
        run_study(config, all_of(sets), run.out, only=["net-a"])


def test_only_runs_a_row_and_what_it_builds_on(sets, tmp_path, no_page):
    config = study_folder(tmp_path / "config")
    run = run_study(config, Folders(sets["data"]), tmp_path / "out", only=["adaptation"])
    states = {n: r.status for n, r in run.rows.items()}
    assert states["net-a"] == "done" and states["deim-nine"] == states["net-b"] == "not run"
    assert "--target" in run.rows["adaptation"].reason
    with pytest.raises(ConfigError, match="no row 'nobody'"):
        run_study(config, Folders(sets["data"]), tmp_path / "out", only=["nobody"])


def test_a_failed_row_keeps_the_others_and_is_told(sets, tmp_path, capsys, monkeypatch):
    config = study_folder(tmp_path / "config")
    (config / "second.toml").write_text((config / "second.toml").read_text().replace('arch = "tiny"', 'arch = "none"'))
    argv = ["study", "pcm", "--data", sets["data"], "--config", config, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in (*argv, "--only", "net-a", "--only", "net-b")])
    said = capsys.readouterr().out
    assert left.value.code == 1 and "net-b: failed" in said and "net-a: done" in said
    rows = {r["Model"]: r for r in csv.DictReader((tmp_path / "out/tables/table6.csv").read_text().splitlines())}
    assert rows["Net A"]["Accuracy (%)"] and "failed" in rows["Net B"]["Remark"]
    assert "Traceback" in (tmp_path / "out/rows/net-b/error.txt").read_text()


def leaking(folder: Path, sets: dict) -> Path:
    """The painted set with one training picture of a test patient's, saved again as the test's."""
    shutil.copytree(sets["data"], folder)
    lines = (folder / "fields.jsonl").read_text().splitlines()
    fields = [json.loads(line) for line in lines]
    train = next(f for f in fields if f["split"] == "train")
    test = next(f for f in fields if f["split"] == "test")
    shutil.copy(folder / "images" / test["file"], folder / "images" / train["file"])
    train["sha256"], train["cells"] = test["sha256"], test["cells"]
    (folder / "fields.jsonl").write_text("".join(json.dumps(f) + "\n" for f in fields))
    return folder


def test_a_study_over_a_leaking_split_says_so_and_can_drop_the_leaks(sets, tmp_path):
    data = leaking(tmp_path / "data", sets)
    run = run_study(study_folder(tmp_path / "a"), Folders(data), tmp_path / "out", only=["net-a"])
    first = run.page.read_text("utf-8").split('<section id="data"')[0]
    assert "This study" in first and "1 pairs of photographs show the same" in first and 'class="alert"' in first
    (row,) = table(run, "audit")
    assert row["Verdict"] == "not clean" and row["Pairs on two sides"] == "1"
    elsewhere = replace(run.study, findings=tuple(replace(f, sets=("outside",)) for f in run.study.findings))
    assert run.study.leaks and not elsewhere.leaks  # a set that is used whole has no two sides
    config = study_folder(tmp_path / "b", head="drop_leaks = true")
    dropped = run_study(config, Folders(data), tmp_path / "out2", only=["net-a"])
    assert len(dropped.study.dropped) == 1 and not dropped.study.leaks
    assert dropped.study.data.source.fields[0].split == "train"
    assert len(dropped.study.data.source.fields) == 17 and "left training" in dropped.page.read_text("utf-8")


def test_a_set_without_splits_is_split_by_patient(tmp_path, no_page):
    config = study_folder(tmp_path / "config", head="test_share = 0.4\nval_share = 0.4")
    data = paint_study_set(tmp_path / "data", name="plain", patients=6)
    run = run_study(config, Folders(data), tmp_path / "out", only=["net-a"])
    assert "made here by patient" in run.study.split_by
    sides: dict[str, set] = {}
    for field in run.study.data.source.fields:
        sides.setdefault(field.key.patient_id, set()).add(field.split)
    assert all(len(s) == 1 for s in sides.values()) and {"train", "val", "test"} == set.union(*sides.values())


LOCATED = """
[[row]]
name = "located"
kind = "detector"
label = "Bundled locator"
config = "locator.toml"
classes = "wbc"
extra = "train"
"""


def test_a_models_locator_can_stand_in_for_a_detector(sets, tmp_path, no_page):
    config = study_folder(tmp_path / "config", rows=LOCATED)
    (config / "locator.toml").write_text('task = "bundle"\nmodel = "blood"\n')
    run = run_study(config, Folders(sets["data"]), tmp_path / "out")
    row = run.rows["located"]
    assert row.is_done and row.result["arch"] == "blood-white-cells"
    assert 0 <= row.result["sets"]["test"]["ap50"]["value"] <= 1
    fields = run.study.data.source.subset("test").fields
    locator = Session(find_model("blood")["locate"])
    locator.card.thresholds["score"] = 0.01
    with np.load(tmp_path / "out" / "rows" / "located" / "test.npz") as saved:
        found = load_boxes(saved, len(fields))
    for truth, boxes in zip(fields, found, strict=True):
        cells = locate(read_field(run.study.data.source.path(truth), truth.key), locator)
        assert np.allclose(boxes.boxes, cells.boxes) and len(cells.boxes)
    (config / "locator.toml").write_text('task = "bundle"\n')
    refused = run_study(config, Folders(sets["data"]), tmp_path / "again")
    assert "needs `model` and nothing else" in refused.rows["located"].reason


def test_wrong_configurations_are_told_at_once(sets, tmp_path, no_page):
    for number, (head, rows, words) in enumerate((
        ("colour = 1", ROWS, "unknown key colour"),
        ("", ROWS.replace('kind = "two-stage"', 'kind = "three-stage"'), "kind must be one of"),
        ("", ROWS.replace('detector = "deim-wbc"', 'detector = "deim-nine"'), 'needs classes = "wbc"'),
        ("", ROWS.replace('name = "net-b"', 'name = "net-a"'), "names two rows"),
        ("", ROWS.replace('config = "second.toml"', 'config = "third.toml"'), "no training configuration"),
        ("", ROWS.replace('config = "second.toml"', f'config = "{"9" * 5000}"'), "no training configuration"),
        ("val_share = 1.5", ROWS, "val_share must lie between"),
    )):  # fmt: skip
        config = study_folder(tmp_path / str(number), head=head, rows=rows)
        with pytest.raises(ConfigError, match=words):
            run_study(config, Folders(sets["data"]), tmp_path / "out")
    with pytest.raises(InputError, match="one set twice"):
        run_study(study_folder(tmp_path / "x"), Folders(sets["data"], (sets["data"],)), tmp_path / "out")
    assert row_module.read_row(tmp_path / "out", "net-a").status == "not run"
    assert len(PCM_CLASSES) == 9

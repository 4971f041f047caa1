"""The marrow study from a tiny cohort to its page, with contours that are the expert's, shaken."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("shapely")
pytest.importorskip("matplotlib")
pytest.importorskip("skimage")

from data.make_marrow import make_marrow

from leukoscope.errors import ConfigError
from leukoscope.experiments import preregistration
from leukoscope.experiments.cblc import baselines, cohort, study
from leukoscope.experiments.cblc.members import component_variants
from leukoscope.experiments.cblc.patients import local_confusions
from leukoscope.experiments.cblc.result import StudyOptions
from leukoscope.experiments.cblc.settings import with_artefact
from leukoscope.geometry import contour_box
from leukoscope.models.bundle import find_model
from leukoscope.taxonomy import MARROW_16
from leukoscope.types import Cells

STUDY = """
name = "tiny"
folds = 2
target_um_per_px = 0.75
second_epochs = 1
second_rate = 1e-3
beta = 0.9
swap_weight = 0.1
cells_per_class = 60
local_cells = 10

[composites]
red = ["erythroblast"]
"""


CLASSIFIER = """
task = "finetune"
name = "tiny"
arch = "tiny"
taxonomy = "marrow-16"
size = 32
epochs = 16
batch_size = 8
learning_rate = 1e-2
head_rate = 2e-2
augment = "none"
norms = "trained"
white_balance = true
"""


LOCATOR = 'task = "locate"\nname = "tiny"\nsteps = 1\n'


OUTLINER = 'task = "outline"\nname = "tiny"\nsteps = 1\n'


def write_config(folder):
    folder.mkdir()
    files = (("study", STUDY), ("classifier", CLASSIFIER), ("locator", LOCATOR), ("outliner", OUTLINER))
    for name, text in files:
        (folder / f"{name}.toml").write_text(text, "utf-8")
    return folder


def shaken(truth, key):
    """Contours as a segmenter might give them: two px off, a little larger; one cell missed, one more found."""
    rng = np.random.default_rng(len(key))
    contours = [np.array(c.contour) * 1.02 + rng.normal(0, 1, 2) for c in truth.cells[1:]]
    return [*contours, np.array([(2.0, 2.0), (12.0, 2.0), (12.0, 12.0), (2.0, 12.0)])]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that ran once, and how to run it again."""
    root = tmp_path_factory.mktemp("cblc")
    data = root / "data"
    data.mkdir()
    make_marrow(data, smears=2)
    config = write_config(root / "config")
    options = StudyOptions(data, ("a", "b"), ("c",), config, root / "out")
    patch = pytest.MonkeyPatch()
    by_field = {f.key.field_id: f for f in cohort.read_dataset(data).fields}

    def find(field):
        found = shaken(by_field[field.key.field_id], field.key.field_id)
        return Cells(field.key, np.array([contour_box(c) for c in found]), np.ones(len(found)))

    def outline(field, cells):
        found = shaken(by_field[field.key.field_id], field.key.field_id)
        return found, [[] for _ in found]

    patch.setattr(study, "make_locator", lambda *a: find)
    patch.setattr(study, "make_outline", lambda *a: outline)
    patch.setattr(study, "component_variants", lambda config: dict(list(component_variants(config).items())[:1]))
    patch.setattr(baselines, "N_DRAWS", 50)
    said: list[str] = []
    page = study.run_study(options, say=said.append)
    yield options, page, said
    patch.undo()


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_study_writes_every_table_and_the_page(finished):
    options, page, said = finished
    names = {p.stem for p in (options.out / "tables").glob("*.csv")}
    assert names == {
        "patients", "splits", "folds", "segmentation", "cells", "classes", "confusion", "diagnosis", "agreement",
        "correction", "baselines", "ablation", "composites", "ratios", "smears", "seconds",
    }  # fmt: skip
    assert all(len(read_csv(options.out / "tables" / f"{n}.csv")) for n in names)
    html = page.read_text("utf-8")
    assert "Research use only" in html and "TRIPOD+AI" in html and "<script" not in html
    assert "weighted F1, 16 classes" in html and "not measured" not in html
    assert any("ablation" in s for s in said)
    for name in ("tripod-ai", "stard-ai", "claim"):
        assert "to be written by the authors" in (options.out / f"{name}.md").read_text("utf-8")
    assert (options.out / "figures" / "roc.svg").read_bytes().startswith(b"<?xml")


def test_no_patient_is_called_by_a_member_that_was_trained_on_it(finished):
    options, _, _ = finished
    split = read_csv(options.out / "tables" / "splits.csv")
    left_out = {r["Patient"]: int(r["Left out by member"]) - 1 for r in split if r["Left out by member"]}
    assert sorted(set(left_out.values())) == [0, 1] and len(left_out) == 12
    for fold in (0, 1):
        record = json.loads((options.out / "work" / f"member-{fold}" / "stage-1" / "config.json").read_text("utf-8"))
        trained, judged = record["train"]["n_groups"], record["val"]["n_groups"]
        assert (trained, judged) == (5, 1) and trained + judged == sum(f != fold for f in left_out.values())


def test_matching_counts_missed_and_extra_cells(finished):
    options, _, _ = finished
    for row in read_csv(options.out / "tables" / "segmentation.csv"):
        n = 12 * 9
        assert (int(row["Expert"]), int(row["Missed"]), int(row["Extra"])) == (n, n // 9, n // 9)
        assert float(row["Mean IoU of matched"]) > 0.7


def test_the_bundle_classifies_and_carries_its_left_out_confusion(finished):
    options, _, _ = finished
    bundle = find_model(options.out / "bundle")["classify"]
    assert bundle.card.taxonomy.composites["red"] == ("erythroblast",)
    assert bundle.card.crop.nucleus_density is not None
    rows = read_csv(options.out / "tables" / "segmentation.csv")[:2]
    matched, extra = (sum(int(r[k]) for r in rows) for k in ("Matched", "Extra"))
    counts = np.array(bundle.card.confusion["counts"])
    artefact = bundle.card.taxonomy.index("artefact")
    assert counts.sum() == matched + extra and counts[artefact].sum() == extra  # what is no cell has its own row
    assert len(bundle.card.confusion_by_patient["patients"]) == 12
    assert counts[artefact, artefact] > 0.5 * extra and "artefact" not in bundle.card.taxonomy.counted


def test_a_finished_study_is_not_run_again_and_another_is_refused(finished):
    options, page, _ = finished
    with pytest.raises(ConfigError, match="--resume"):
        study.run_study(options, say=lambda _: None)
    weights = options.out / "work" / "member-0" / "stage-2" / "best.pt"
    before = weights.stat().st_mtime_ns
    (options.out / "study.html").unlink()
    assert study.run_study(replace(options, resume=True), say=lambda _: None).is_file()
    assert weights.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="other data, centres or settings"):
        study.run_study(replace(options, validate=("b",), develop=("a",), resume=True), say=lambda _: None)


def test_the_tiny_networks_tell_patients_apart(finished):
    options, _, _ = finished
    rows = {(r["Patients of"], r["Ratio"]): r for r in read_csv(options.out / "tables" / "diagnosis.csv")}
    for ratio in ("raw count", "corrected"):
        row = rows["all validation centres", ratio]
        assert float(row["AUROC"]) > 0.85
        assert float(row["Threshold (%)"]) == float(rows["development, left out", ratio]["Threshold (%)"])
    baselines_of = {r["System"]: r for r in read_csv(options.out / "tables" / "baselines.csv")}
    assert float(baselines_of["expert count itself"]["Mean absolute error (%)"]) == 0
    assert baselines_of["one-stage detector"]["Note"] == "no detector.toml in the configuration"


def test_what_was_registered_is_checked_afterwards(finished, monkeypatch):
    options, page, said = finished
    path = options.out / "preregistration.json"
    record = json.loads(path.read_text("utf-8"))
    assert said.index("pre-registration") < said.index("tables, figures and page")
    assert set(record["data"]) == {"development", "validation", "diagnoses"} and len(record["models"]) == 2
    table = {(r["Patients of"], r["Ratio"]): r for r in read_csv(options.out / "tables" / "diagnosis.csv")}
    shown = float(table["all validation centres", "corrected"]["Threshold (%)"]) / 100
    assert record["thresholds"]["corrected"] == pytest.approx(shown, abs=1e-6)
    assert "thresholds, models, predictions and code are as registered" in page.read_text("utf-8")
    again = replace(options, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(preregistration, "code_digest", lambda: "0" * 64)
        moved = study.run_study(again, say=lambda _: None).read_text("utf-8")
    assert "Not as registered: code_sha256: registered" in moved and json.loads(path.read_text("utf-8")) == record
    assert study.run_study(replace(again, register_only=True), say=lambda _: None) == path
    changed = record | {"thresholds": {"raw count": 0.5, "corrected": 0.5}}
    path.write_text(json.dumps(changed), "utf-8")
    with pytest.raises(ConfigError, match="was changed after it was written"):
        study.run_study(again, say=lambda _: None)
    path.write_text(json.dumps(record), "utf-8")


def test_a_trend_is_shown_for_patients_with_several_smears(finished):
    options, page, _ = finished
    rows = read_csv(options.out / "tables" / "smears.csv")
    assert len(rows) == 36 and sum(r["p of the change"] != "" for r in rows) == 18
    assert (options.out / "figures" / "trend.svg").is_file()


def test_the_nucleus_is_measured_in_the_crop_where_none_was_outlined(finished):
    options, _, _ = finished
    from leukoscope.experiments.cblc.crop_files import load_crops

    crops = load_crops(options.out / "work" / "predicted.npz", with_artefact(MARROW_16))
    areas = baselines.nucleus_areas(crops, np.zeros(len(crops)), np.full(len(crops), 0.75))
    typed = crops.extras["matched"]
    assert (areas[typed] > 50).all()


def test_a_patients_own_cells_never_correct_it(finished):
    """Give one patient's cells a class that no other has: only the others' tables may show it."""
    options, _, _ = finished
    from leukoscope.experiments.cblc.crop_files import load_crops

    crops = load_crops(options.out / "work" / "predicted.npz", with_artefact(MARROW_16))
    key = crops.groups[crops.extras["centers"] == "c"][0]
    marked = replace(crops, labels=np.where(crops.groups == key, 15, crops.labels))
    probs = np.tile(np.eye(17)[0], (len(crops), 1))
    found = local_confusions(marked, probs, ["c"], 10_000, seed=0)
    assert len(found) == 6 and found[key][15].sum() == 0
    assert all(table[15].sum() == (crops.groups == key).sum() for k, table in found.items() if k != key)
    few = local_confusions(marked, probs, ["c"], 10, seed=0)
    assert all(table.sum() == 10 for table in few.values())


def test_the_size_baseline_never_sees_the_patients_it_judges(finished):
    options, _, _ = finished
    from leukoscope.experiments.cblc.crop_files import load_crops

    crops = load_crops(options.out / "work" / "predicted.npz", with_artefact(MARROW_16))
    folds = np.where(crops.extras["centers"] == "a", 0, np.where(crops.extras["centers"] == "b", 1, -1))
    inside = np.isin(crops.labels, MARROW_16.columns(MARROW_16.composites["cblc"]))
    areas = np.where(inside, 60.0, 20.0) + np.where(folds == 0, 100.0, 0.0)  # fold 0 is larger all over
    shares = baselines.nucleus_ratios(crops, areas, folds, "cblc")
    assert all(v == 1.0 for k, v in shares.items() if k.startswith("a/"))  # judged by fold 1's threshold
    assert all(v == 0.0 for k, v in shares.items() if k.startswith("b/"))

"""Patients of the marrow study: by centre, thresholds from development alone, corrections by nobody's own cells."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("shapely")
pytest.importorskip("matplotlib")
pytest.importorskip("skimage")

from data.make_marrow import make_marrow

from leukoscope.errors import InputError
from leukoscope.experiments.cblc import baselines, cohort, study, verdicts
from leukoscope.experiments.cblc.calibration import calibrated_ratios
from leukoscope.experiments.cblc.cohort import Patient
from leukoscope.experiments.cblc.members import component_variants
from leukoscope.experiments.cblc.patients import PatientRatio, Validation
from leukoscope.experiments.cblc.predictions import epoch_patients
from leukoscope.experiments.cblc.settings import StudyConfig
from leukoscope.quantify import correct_ratio
from leukoscope.taxonomy import MARROW_16


def test_a_failing_ablation_costs_one_row_and_is_done_once(tmp_path, monkeypatch):
    """Of two components the first one's training fails: the other is measured, and neither is begun again."""
    dataset = SimpleNamespace(sha256=lambda: "d")
    settings = StudyConfig("tiny", imbalance=("effective_number",), stain=True, center_border=(), morphology_weight=0.0)
    material = SimpleNamespace(
        files=SimpleNamespace(study=settings), cohort=SimpleNamespace(dataset=dataset), work=tmp_path / "work"
    )
    (tmp_path / "work").mkdir()
    begun = []

    def ablate(config, material, folder):
        begun.append(folder.name)
        if not config.imbalance:
            raise RuntimeError("out of memory")
        return {"rows": np.ones(3, bool), "probs": np.ones((3, 1))}

    monkeypatch.setattr(study, "ablate", ablate)
    monkeypatch.setattr(
        study, "component_variants", component_variants
    )  # all of them: the study above takes the first alone
    for _ in range(2):
        clock = study.Clock(tmp_path / "work" / "seconds.json", lambda line: None)
        rows, calls = study._ablation(tmp_path, material, clock)
        assert [r.status for r in rows.values()] == ["failed", "done"] and len(calls) == 1
        assert next(iter(rows.values())).reason == "out of memory"
    assert begun.count("without-stain-normalisation") == 3  # its work once; twice what is kept is read
    assert begun.count("without-imbalance-correction") == 2  # what failed is tried again


def test_centres_must_be_there_and_on_one_side(tmp_path):
    data = make_marrow(tmp_path)
    with pytest.raises(InputError, match="no centre d"):
        cohort.read_cohort(data, MARROW_16, develop=("a",), validate=("d",))
    with pytest.raises(InputError, match="name it once"):
        cohort.read_cohort(data, MARROW_16, develop=("a", "b"), validate=("b",))


def test_a_diagnosis_table_is_read_by_centre_and_a_wrong_word_refused(tmp_path):
    table = tmp_path / "d.csv"
    table.write_text("patient_id,center,diagnosis\n1,x,AML\n1,y,not AML\n2,y,\n", "utf-8")
    assert cohort.read_diagnoses(table) == {"x/1": "AML", "y/1": "not-AML"}
    table.write_text("patient_id,diagnosis\n1,CLL\n", "utf-8")
    with pytest.raises(InputError, match="AML or not-AML"):
        cohort.read_diagnoses(table)


def make_ratio(number, expert, raw, *, is_aml=True, role="validation", center="c"):
    patient = Patient(f"{center}/{number}", center, role, -1, "AML" if is_aml else "not-AML", np.zeros(16, int), 1)
    return PatientRatio(patient, "", "cblc", expert, 100, raw, raw, raw, 100, raw, raw - 0.1, raw + 0.1, "")


def test_manual_noise_shrinks_with_the_cells_counted():
    ratios = [make_ratio(i, i / 10, i / 10, is_aml=i > 4) for i in range(10)]
    few, many = (baselines.manual_noise(ratios, n_cells=n, seed=0) for n in (20, 2000))
    assert many["mae"].value < few["mae"].value / 5
    assert many["auroc"].value > few["auroc"].value > 0.9


def test_the_threshold_comes_from_development_alone():
    own = [make_ratio(i, 0, v, is_aml=v > 0.5, role="development") for i, v in enumerate((0.1, 0.2, 0.8, 0.9))]
    held = [make_ratio(i + 9, 0, v, is_aml=a) for i, (v, a) in enumerate(((0.55, True), (0.3, True), (0.1, False)))]
    table = verdicts.diagnosis_table(verdicts.Ratios([*own, *held], [], [], {}))
    rows = {(r[0], r[1]): r for r in table.rows}
    row = rows["all validation centres", "raw count"]
    assert row[6] == pytest.approx(0.5)
    assert row[7].value == pytest.approx(0.5) and row[8].value == 1.0


def test_patients_differ_and_nobody_is_corrected_by_their_own_cells():
    """Development patients who are called well and badly by turns widen a new patient's limits."""
    names, counted = MARROW_16.names, list(range(16))
    own = {}
    for number in range(12):
        table = np.zeros((16, 16), np.int64)
        table[0, 0], table[0, 4], table[4, 4], table[4, 0] = (18, 2, 38, 2) if number % 2 else (10, 10, 28, 12)
        own[f"a/{number}"] = table
    alike = {k: sum(own.values()) // 12 for k in own}
    assert names[0] == "myeloblast" and names[4] == "neutrophil"
    counts = np.bincount([0] * 30 + [4] * 70, minlength=16)
    widths = []
    for tables in (own, alike):
        matrix, scatter = Validation(tables).for_patient("new", [0], counted)
        fixed = correct_ratio(counts, matrix, subset=[0], counted=counted, scatter=scatter)
        widths.append(fixed.high - fixed.low)
    assert widths[0] > 1.3 * widths[1]
    known = Validation(own)
    without, _ = known.for_patient("a/0", [0], counted)
    assert (without == sum(own.values()) - own["a/0"]).all()
    assert (known.for_patient("c/9", [0], counted)[0] == sum(own.values())).all()


def test_the_line_of_development_patients_takes_a_bias_out_and_covers():
    rng = np.random.default_rng(4)

    def patient(number, role):
        """Called from 0.12 + 0.8 of the truth on, with patients who differ, as counting does: alike in the root."""
        true = rng.uniform(0.02, 0.8)
        called = np.sin(np.arcsin(np.sqrt(0.12 + 0.8 * true)) + rng.normal(0, 0.05)) ** 2
        return make_ratio(number, true, float(called), role=role, center="a" if role == "development" else "c")

    held, errors = [], []
    for _ in range(12):
        ratios = [patient(i, "development") for i in range(30)] + [patient(i, "validation") for i in range(60)]
        found = [r for r in calibrated_ratios(ratios) if r.patient.role == "validation"]
        held += [r.low <= r.expert <= r.high for r in found]
        errors.append([np.mean([abs(getattr(r, k) - r.expert) for r in found]) for k in ("raw", "corrected")])
    raw, fixed = np.mean(errors, 0)
    assert fixed < 0.8 * raw and 0.92 < np.mean(held) < 0.98
    found = calibrated_ratios(ratios)
    alone = calibrated_ratios([replace(r, expert=0.9 - r.expert) if i == 0 else r for i, r in enumerate(ratios)])
    assert alone[0].corrected == found[0].corrected  # nobody is on a line of their own
    assert alone[40].corrected != found[40].corrected
    assert calibrated_ratios(ratios[:5] + ratios[30:]) == []


def test_epochs_are_chosen_on_patients_that_no_one_else_judges():
    own = {f"a/{n}" for n in range(11)}
    kept = epoch_patients(own, seed=3)
    assert len(kept) == 2 and kept < own and kept == epoch_patients(own, seed=3)
    assert epoch_patients({"a/1", "a/2"}, seed=0) == set()

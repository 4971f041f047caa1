"""The drift watch: no alarm where nothing changed, one for each thing that did, and nothing that names a patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leukoscope.cli import main
from leukoscope.drift import judge, measure_run, measure_runs, read_profile, write_profile
from leukoscope.drift.judge import MIX, pooled
from leukoscope.drift.page import withheld_rows
from leukoscope.errors import DataError, InputError
from leukoscope.report.record import PATIENT_KEYS
from leukoscope.taxonomy import BLOOD_12

NAMES = ("segmented_neutrophil", "lymphocyte", "monocyte")


def make_run(folder: Path, seed: int, *, n_patients: int = 12, model: str = "a", **shift: float) -> Path:
    """A run's record: patients differ, photographs of a patient less. shift: of a measure, in its own unit."""
    rng = np.random.default_rng(seed)
    fields = []
    for number in range(n_patients):
        own = {"stain": rng.normal(0.6, 0.03), "focus": rng.normal(0.3, 0.03), "light": rng.normal(0.9, 0.02)}
        side, top = rng.normal(60, 2), rng.normal(0.9, 0.01)
        mix = rng.dirichlet(np.array([60.0, 30.0, 10.0]))
        for row in range(6):
            quality = {
                "stain": own["stain"] + rng.normal(0, 0.01) + shift.get("stain", 0),
                "focus": own["focus"] + rng.normal(0, 0.01) + shift.get("focus", 0),
                "exposure": own["light"] + shift.get("light", 0), "content": 0.4, "grain": 0.7, "problems": [],
            }  # fmt: skip
            cells = []
            for _ in range(8):
                name = NAMES[rng.choice(3, p=mix)] if rng.random() > shift.get("mix", 0) else "basophil"
                prob = min(0.999, top + rng.normal(0, 0.02) + shift.get("confidence", 0))
                px = side + rng.normal(0, 3) + shift.get("cell_px", 0)
                known = rng.random() >= 0.02 + shift.get("withheld", 0)
                cells.append(
                    {"box": [10, 10, 10 + px, 10 + px], "class": name, "probs": {name: prob, "artefact": 1 - prob},
                     "score": 0.9, "suspicion": 0.0, "identified": bool(known)}
                )  # fmt: skip
            failed = rng.random() < shift.get("poor", 0)
            fields.append(
                {"file": f"{number}-{row}.png", "sha256": None, "patient_id": f"secret-{number}", "smear_id": "s",
                 "center": "north" if number % 2 else "south", "status": "failed" if failed else "ok", "reason": None,
                 "width": 640, "height": 480, "um_per_px": None, "red_cell_px": 40.0,
                 "quality": None if failed else quality, "cells": [] if failed else cells}
            )  # fmt: skip
    provenance = {"taxonomy": BLOOD_12.to_dict(), "models": {"classifier": {"name": "m", "onnx_sha256": model}},
                  "min_cells": 200, "specimen": "blood"}  # fmt: skip
    patients = [dict.fromkeys(PATIENT_KEYS) | {"patient_id": f"secret-{n}"} for n in range(n_patients)]
    folder.mkdir()
    record = {"record_version": 2, "provenance": provenance, "patients": patients, "fields": fields}
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    return folder


@pytest.fixture(scope="module")
def june(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "june", 1)


def drifted(run: Path, reference: Path) -> set[str]:
    return {f.measure for f in judge(measure_run(run), measure_run(reference)) if f.drifted}


@pytest.mark.parametrize(
    ("measure", "by"),
    [("stain", 0.15), ("focus", -0.15), ("light", -0.2), ("cell_px", 15.0), ("confidence", -0.1), ("withheld", 0.3),
     ("poor", 0.5)],
)  # fmt: skip
def test_each_thing_that_changed_raises_its_alarm(june, tmp_path, measure, by):
    found = drifted(make_run(tmp_path / "july", 2, **{measure: by}), june)
    assert measure in found and found <= {measure, "cell_size"}  # larger cells among the same red cells are both


def test_a_class_that_took_the_place_of_others_is_another_mix(june, tmp_path):
    assert drifted(make_run(tmp_path / "july", 2, mix=0.5), june) == {MIX}


def test_runs_of_the_same_kind_raise_none(june, tmp_path):
    assert [drifted(make_run(tmp_path / f"r{seed}", seed), june) for seed in range(3, 13)] == [set()] * 10


def test_a_large_run_of_hardly_any_difference_raises_none(june, tmp_path):
    large = make_run(tmp_path / "a", 20, n_patients=60)
    found = judge(measure_run(make_run(tmp_path / "b", 21, n_patients=60, stain=0.015)), measure_run(large))
    stain = next(f for f in found if f.measure == "stain")
    assert stain.p < 0.01 and not stain.drifted  # real, and no matter


def test_two_models_are_compared_by_what_does_not_depend_on_them(june, tmp_path):
    found = judge(measure_run(make_run(tmp_path / "july", 2, model="b")), measure_run(june))
    assert {f.measure for f in found} == {"stain", "focus", "light", "cell_px", "cell_size", "poor"}


def test_few_patients_are_refused_and_earlier_runs_count_together(june, tmp_path):
    few = [measure_run(make_run(tmp_path / f"{n}", n, n_patients=5)) for n in range(3)]
    with pytest.raises(InputError, match="2 has 5 patients and 1 5: expected at least 5 and 8"):
        judge(few[2], few[1])
    together = pooled(few[:2])
    assert together.name == "0 and 1" and len(together.patients) == 10
    assert not any(f.drifted for f in judge(few[2], together))
    wide = pooled([few[0], measure_run(make_run(tmp_path / "pale", 3, stain=-0.2))])
    assert wide.fields["stain"][0] < few[0].fields["stain"][0] - 0.1 and wide.fields["stain"][-1] > 0.6


def test_a_bundles_photographs_bound_what_is_expected(june, tmp_path):
    write_profile(measure_run(june), tmp_path / "drift.json", patients=False)
    reference = read_profile(tmp_path / "drift.json")
    assert reference.patients == ()
    assert not any(f.drifted for f in judge(measure_run(make_run(tmp_path / "same", 5)), reference))
    found = judge(measure_run(make_run(tmp_path / "pale", 6, stain=-0.3, focus=-0.2)), reference)
    assert {f.measure for f in found if f.drifted} == {"stain", "focus"}


def test_a_kept_profile_names_no_patient_and_reads_back(june, tmp_path):
    profile = measure_run(june)
    write_profile(profile, tmp_path / "kept.json")
    assert read_profile(tmp_path / "kept.json") == profile
    assert "secret" not in (tmp_path / "kept.json").read_text()
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(DataError, match="no profile of a run"):
        read_profile(tmp_path / "no.json")


def test_runs_of_one_name_are_called_by_their_parents_too(june, tmp_path):
    for month in ("june", "july"):
        (tmp_path / month).mkdir()
        make_run(tmp_path / month / "report", 1, n_patients=2)
    runs = measure_runs([tmp_path / "june" / "report", tmp_path / "july" / "report" / "record.json", june])
    assert [p.name for p in runs] == ["june/report", "july/report", "june"]


def test_withheld_stands_beside_coverage_for_each_site(june, tmp_path):
    rows = withheld_rows([measure_run(make_run(tmp_path / "july", 2, withheld=0.3, poor=0.2))])
    assert [r["center"] for r in rows] == ["north", "south"]
    for row in rows:
        assert row["withheld"] + row["coverage"] == pytest.approx(1) and 0.2 < row["withheld"] < 0.45
        assert 0.05 < row["failed"] < 0.4


def test_the_command_says_a_line_writes_a_page_and_leaves_with_3(june, tmp_path, capsys):
    july = make_run(tmp_path / "july", 2)
    august = make_run(tmp_path / "august", 3, stain=0.2)
    page = tmp_path / "drift.html"
    with pytest.raises(SystemExit) as left:
        main(["drift", str(june), str(july), str(august), "--html", str(page)])
    out = capsys.readouterr().out
    assert left.value.code == 3
    assert "july against june: no drift seen in 9 measures" in out
    assert "august against june and july: DRIFT in 1 of 9 measures" in out and "site north: " in out
    text = page.read_text("utf-8")
    assert text.count("<svg") == 8 and "secret" not in text and "default-src 'none'" in text
    assert main(["drift", str(july), "--reference", str(june), "--keep", str(tmp_path / "kept.json")]) == 0
    assert main(["drift", str(july), "--reference", str(tmp_path / "kept.json")]) == 0
    assert main(["drift", str(july)]) == 2 and "one run alone" in capsys.readouterr().err
    assert main(["drift", str(july), "--reference", "nothing"]) == 2 and "no model 'nothing'" in capsys.readouterr().err

"""The flags as worked examples: a smear in numbers, and what the report must say of it. Read by haematologists."""

from __future__ import annotations

import pytest
from data.smear_counts import FULL, KNOWS_APL, band, codes, marrow, smear

from leukoscope.count import ratio
from leukoscope.flags import Knowledge, Likeness, flags, not_offered
from leukoscope.pipeline.ratios import Correction, ratio_entries
from leukoscope.report.words import none_seen_words
from leukoscope.taxonomy import BLOOD_12, Taxonomy

# 4. Flags


def test_a_marrow_of_proerythroblasts_is_flagged():
    """85 % proerythroblasts: 0 of 500 are blasts, and the report must not leave it at "below 5 %"."""
    counted = marrow(proerythroblast=425, lymphocyte=75)
    assert band(counted) == "<5"
    found = flags(counted, min_cells=500)
    assert [f["code"] for f in found] == ["erythroid_pattern", "composite_above_blasts"]
    assert "425 of 500 nucleated cells are erythroid, 425 of them proerythroblasts" in found[0]["text"]
    assert "the blast ratio says nothing here" in found[0]["text"]
    assert "425 of 500 cells are in CBLC and no blasts, most of them proerythroblast" in found[1]["text"]


@pytest.mark.parametrize(
    ("cells", "flagged"),
    [
        ({"proerythroblast": 150, "neutrophil": 350}, True),  # 30 % proerythroblasts
        ({"proerythroblast": 149, "neutrophil": 351}, False),
        ({"erythroblast": 400, "neutrophil": 100}, True),  # 80 % erythroid
        ({"erythroblast": 350, "neutrophil": 150}, False),  # 70 %: hyperplasia, as in haemolysis
    ],
)
def test_the_erythroid_pattern(cells, flagged):
    assert ("erythroid_pattern" in codes(marrow(**cells))) is flagged


def test_proerythroblasts_in_blood_are_never_normal():
    assert "erythroid_pattern" in codes(smear(neutrophil=300, proerythroblast=1))


@pytest.mark.parametrize(("red", "flagged"), [(5, False), (6, True)])
def test_nucleated_red_cells_in_blood(red, flagged):
    assert ("nucleated_red_cells" in codes(smear(neutrophil=100, erythroblast=red), min_cells=0)) is flagged


def test_a_healthy_marrow_has_no_finding():
    """ICSH's means: 1 % blasts, 3 % promyelocytes, 2 % early erythroid cells of 500."""
    healthy = marrow(
        myeloblast=5, promyelocyte=15, myelocyte=60, metamyelocyte=75, neutrophil=150, eosinophil=15, monocyte=10,
        proerythroblast=3, early_erythroblast=10, erythroblast=100, lymphocyte=50, other=7,
    )  # fmt: skip
    assert codes(healthy) == [] and band(healthy) == "<5"


@pytest.mark.parametrize(("promyelocytes", "flagged"), [(100, True), (99, False)])
def test_a_composite_far_above_the_blasts(promyelocytes, flagged):
    counted = marrow(promyelocyte=promyelocytes, neutrophil=500 - promyelocytes)
    assert ("composite_above_blasts" in codes(counted)) is flagged


def test_a_composite_that_is_all_blasts_is_not_far_above_them():
    assert "composite_above_blasts" not in codes(marrow(myeloblast=400, neutrophil=100))


@pytest.mark.parametrize(
    ("cells", "flagged"),
    [
        ({"artefact": 28, "neutrophil": 72}, True),  # as in photographs of real leukaemia
        ({"smudge_cell": 42, "neutrophil": 58}, True),
        ({"artefact": 8, "smudge_cell": 6, "unidentified": 6, "neutrophil": 80}, True),
        ({"unidentified": 20, "neutrophil": 80}, True),
        ({"artefact": 19, "neutrophil": 81}, False),
    ],
)
def test_many_cells_in_no_ratio(cells, flagged):
    assert ("many_left_out" in codes(smear(**cells))) is flagged


def test_what_left_the_ratios_is_told_by_kind():
    found = flags(smear(artefact=20, smudge_cell=15, unidentified=5, neutrophil=60), min_cells=0)
    (text,) = [f["text"] for f in found if f["code"] == "many_left_out"]
    assert "40 of 100 cells found are in no ratio (20 as artefacts, 15 as smudges, 5 as not identified)" in text


def test_apl_is_flagged_only_by_a_model_that_learnt_it_from_patients():
    one = smear(apl_promyelocyte=1, neutrophil=300)
    assert codes(one)[0] == "suspected_apl"
    assert "urgent haematologist review" in flags(one, min_cells=0, knowledge=KNOWS_APL)[0]["text"]
    assert codes(one, knowledge=Knowledge())[0] == "unsure_apl"


@pytest.mark.parametrize("abnormal", ["apl_promyelocyte", "faggot_cell", "bilobed_promyelocyte"])
def test_every_abnormal_promyelocyte_of_apl_is_flagged(abnormal):
    own = Taxonomy("own", (abnormal, "neutrophil"), (abnormal, "neutrophil"), blasts=(abnormal,))
    assert codes(smear(own, neutrophil=499, **{abnormal: 1}))[0] == "suspected_apl"
    assert band(smear(own, neutrophil=150, **{abnormal: 50})) == ">=20"  # a blast equivalent


def test_promyelocytes_do_not_stand_for_apl():
    """The rule of 20 % promyelocytes fired on ALL and not on APL: a model without real APL cells doesn't offer it."""
    assert "suspected_apl" not in codes(smear(BLOOD_12, promyelocyte=150, lymphocyte=50))
    texts = {e["code"]: e["text"] for e in not_offered(BLOOD_12, "blood", Knowledge())}
    assert texts["suspected_apl"].startswith("APL can't be recognised by this model")
    assert "suspected_apl" not in [e["code"] for e in not_offered(FULL, "blood", KNOWS_APL)]
    assert "suspected_apl" in [e["code"] for e in not_offered(FULL, "blood", Knowledge())]  # drawn cells teach nothing


def test_cells_unlike_those_the_model_knows():
    """Of known cells 5 % are called with less than 60 %; above 15 % the patient's cells are unlike them."""
    knows = Knowledge(likeness=Likeness(below=0.6, share=0.05, limit=0.15))
    blood = smear(neutrophil=200)
    assert "unlike_cells" in codes(blood, knowledge=knows, n_unsure=50)
    assert "unlike_cells" not in codes(blood, knowledge=knows, n_unsure=35)  # 17 %: may still be chance
    assert "unlike_cells" not in codes(blood, knowledge=Knowledge(), n_unsure=200)
    assert "unlike_cells" in [e["code"] for e in not_offered(FULL, "blood", Knowledge())]


def test_any_blast_in_blood_and_five_percent_in_marrow_are_looked_at():
    assert codes(smear(lymphocyte=499, lymphoblast=1)) == ["review_blasts"]
    assert codes(marrow(lymphocyte=476, myeloblast=24)) == []
    assert codes(marrow(lymphocyte=475, myeloblast=25)) == ["review_blasts"]


def test_blasts_only():
    blood = smear(myeloblast=200)
    assert ratio(blood).value == 1.0 and band(blood, "myeloid_blasts") == ">=20" and codes(blood) == ["review_blasts"]


def test_a_flag_says_how_often_healthy_smears_carry_it():
    rates = [
        {"code": "review_blasts", "n_cells": n, "rate": r, "low": 0.0, "high": 1.0, "n_films": 1000, "set": "pbc"}
        for n, r in ((100, 0.98), (200, 0.99))
    ]
    knows = Knowledge(rates={"review_blasts": tuple(rates)})
    (flag,) = flags(smear(neutrophil=180, lymphoblast=1), min_cells=0, knowledge=knows)[:1]
    assert (flag["healthy"]["n_cells"], flag["healthy"]["rate"]) == (100, 0.98)
    assert flags(smear(neutrophil=50), min_cells=200, knowledge=knows)[0]["healthy"] is None


def test_numbers_of_cells_and_what_is_said_of_them():
    assert codes(smear(neutrophil=200)) == []
    assert codes(smear(neutrophil=199)) == ["few_cells"]
    assert codes(smear(artefact=3)) == ["many_left_out", "no_cells"]
    assert codes(smear(neutrophil=3), min_cells=0) == ["few_cells"]
    assert codes(smear()) == ["no_cells"]


# 5. No blast seen


def test_no_blast_seen_says_what_may_have_been_missed_and_what_would_settle_it():
    """0 of 100 leaves up to 3.0 % (rule of three); 299 without one exclude 1 %: 199 more, at 10 a field 20 fields."""
    entry = ratio_entries(smear(neutrophil=100, n_fields=10), Correction())[0]
    assert entry["none_seen"]["upper"] == pytest.approx(0.0295, abs=1e-4)
    assert [(e["threshold"], e["cells"], e["fields"]) for e in entry["none_seen"]["further_cells"]] == [
        (0.05, 0, 0),
        (0.01, 199, 20),
    ]
    assert none_seen_words(entry) == (
        "No blast seen: 100 cells without one leave up to 3.0\u00a0% possible (one-sided 95\u00a0% limit, if none is "
        "called wrongly); 199 more cells (20 photographs like these) without one would exclude 1\u00a0%."
    )
    assert none_seen_words(ratio_entries(smear(neutrophil=100, myeloblast=1), Correction())[0]) is None
    assert none_seen_words(ratio_entries(smear(), Correction())[0]) is None

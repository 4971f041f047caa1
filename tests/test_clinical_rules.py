"""The clinical rules as worked examples: a smear, and what the report must say of it. Read by haematologists.

Each test is one smear in plain numbers. docs/decisions/0019-clinical-rules.md gives the reasons and the sources.
"""

from __future__ import annotations

import pytest

from leukoscope.count import ratio, ratios, read_bands
from leukoscope.flags import Knowledge, Likeness, flags, not_offered
from leukoscope.pipeline.ratios import Correction, ratio_entries
from leukoscope.practice import MINIMUM_CELLS
from leukoscope.report.choose import urgency
from leukoscope.report.run_html import _band as list_band
from leukoscope.report.words import no_band_words, none_seen_words
from leukoscope.taxonomy import BLOOD_12, BLOOD_14, MARROW_16, PCM_9, Taxonomy
from leukoscope.types import Differential

# A blood model that tells the lines apart and has every kind of cell these examples need.
FULL = Taxonomy(
    name="full-blood",
    names=(
        "neutrophil", "lymphocyte", "monocyte", "promyelocyte", "myeloblast", "lymphoblast", "apl_promyelocyte",
        "proerythroblast", "erythroblast", "megakaryocyte", "artefact", "smudge_cell",
    ),
    counted=(
        "neutrophil", "lymphocyte", "monocyte", "promyelocyte", "myeloblast", "lymphoblast", "apl_promyelocyte",
        "proerythroblast", "erythroblast", "megakaryocyte",
    ),
    blasts=("myeloblast", "lymphoblast", "apl_promyelocyte"),
    artefacts=("artefact", "smudge_cell"),
)  # fmt: skip
KNOWS_APL = Knowledge(apl_cells=4000)


def smear(taxonomy=FULL, specimen="blood", *, unidentified=0, n_fields=10, **cells):
    counts = [cells.pop(name, 0) for name in taxonomy.names]
    assert not cells, f"no such class: {cells}"
    return Differential("p1", specimen, counts, counts, n_fields, taxonomy, unidentified)


def marrow(**cells):
    return smear(MARROW_16, "marrow", **cells)


def band(differential, name="blasts", **more):
    reading = read_bands(differential, ratio(differential, name), **more)
    return reading.band or reading.reason


def codes(differential, *, knowledge=KNOWS_APL, min_cells=None, **more):
    asked = MINIMUM_CELLS[differential.specimen] if min_cells is None else min_cells
    return [f["code"] for f in flags(differential, min_cells=asked, knowledge=knowledge, **more)]


# 1. What a ratio is a share of


def test_in_blood_blasts_are_a_share_of_leukocytes():
    """60 erythroblasts, 30 neutrophils, 10 blasts: 10 of 40 leukocytes are 25 %; 150 erythroblasts per 100."""
    blood = smear(erythroblast=60, neutrophil=30, myeloblast=10)
    assert (ratio(blood).numerator, ratio(blood).denominator, ratio(blood).value) == (10, 40, 0.25)
    five_times = smear(erythroblast=300, neutrophil=150, myeloblast=50)
    assert band(five_times, "myeloid_blasts") == ">=20"


def test_in_marrow_blasts_are_a_share_of_all_nucleated_cells():
    """The same cells in a marrow: 10 of 100 are 10 %."""
    counted = marrow(erythroblast=300, neutrophil=150, myeloblast=50)
    assert ratio(counted).value == 0.10 and band(counted) == "10-19"


def test_megakaryocytes_are_no_leukocytes_either():
    assert ratio(smear(megakaryocyte=100, neutrophil=90, myeloblast=10)).value == 0.10


def test_blood_with_nothing_but_erythroblasts_has_no_ratio_and_says_what_is_there():
    blood = smear(erythroblast=200)
    assert ratio(blood).denominator == 0 and band(blood, "myeloid_blasts") == "no_cells"
    found = flags(blood, min_cells=200)
    assert [f["code"] for f in found] == ["nucleated_red_cells", "no_cells"]
    assert found[0]["text"].startswith("200 nucleated red cells beside 0 leukocytes")
    assert "No leukocyte was counted" in found[1]["text"]


def test_a_composite_with_erythroid_cells_stays_a_share_of_all_nucleated_cells_in_blood():
    """CBLC holds proerythroblasts: as a share of leukocytes it could exceed 100 %."""
    blood = smear(MARROW_16, proerythroblast=90, neutrophil=10)
    assert ratio(blood, "cblc").value == 0.90 and ratio(blood).denominator == 10


@pytest.mark.parametrize("left_out", ["artefact", "smudge_cell"])
def test_artefacts_and_smudges_move_no_ratio(left_out):
    assert ratio(smear(neutrophil=90, myeloblast=10, **{left_out: 500})).value == 0.10


def test_cells_that_are_not_identified_move_no_ratio():
    assert ratio(smear(neutrophil=90, myeloblast=10, unidentified=500)).value == 0.10


# 2. Whose bands


def test_the_bands_are_for_myeloid_blasts_and_lymphoblasts_have_a_ratio_of_their_own():
    """200 leukocytes, 30 myeloblasts and 70 lymphoblasts: 15 % myeloid (10-19), 35 % lymphoid (no AML band)."""
    blood = smear(neutrophil=100, myeloblast=30, lymphoblast=70)
    named = {r.name: (r.value, band(blood, r.name)) for r in ratios(blood)}
    assert named == {
        "blasts": (0.5, "several_lines"),
        "myeloid_blasts": (0.15, "10-19"),
        "lymphoid_blasts": (0.35, "lymphoid"),
    }
    for entry in ratio_entries(blood, Correction()):
        assert entry["low"] < entry["value"] < entry["high"]  # each with its interval
    assert "blasts_of_both_lines" in codes(blood)


def test_pcm_9_no_longer_pools_three_lineages_under_one_band():
    """40 lymphoblasts, 5 myeloblasts and 5 APL promyelocytes of 200: 5 % myeloid, not "20 % or more"."""
    blood = smear(PCM_9, lymphocyte=150, lymphoblast=40, myeloblast=5, apl_promyelocyte=5)
    assert [r.name for r in ratios(blood)] == ["blasts", "myeloid_blasts", "lymphoid_blasts"]
    assert (band(blood), band(blood, "myeloid_blasts")) == ("several_lines", "5-9")


def test_the_patient_list_says_whose_band_it_is():
    """50 % blasts in all, 15 % of them myeloid: "10-19 %" beside 50 % would be read as the band of all."""
    blood = smear(neutrophil=100, myeloblast=30, lymphoblast=70)
    assert list_band({"ratios": ratio_entries(blood, Correction())}) == "10–19 % (myeloid blasts)"
    assert list_band({"ratios": ratio_entries(marrow(lymphocyte=400, myeloblast=100), Correction())}) == "20 % or more"
    assert list_band({"ratios": ratio_entries(smear(BLOOD_14, lymphocyte=200), Correction())}) == "–"


@pytest.mark.parametrize("equivalent", ["monoblast", "promonocyte", "megakaryoblast"])
def test_blast_equivalents_count_as_myeloid_blasts(equivalent):
    assert band(marrow(lymphocyte=400, **{equivalent: 100})) == ">=20"


@pytest.mark.parametrize("taxonomy", [BLOOD_12, BLOOD_14], ids=lambda t: t.name)
def test_a_model_that_does_not_know_the_line_gives_one_ratio_without_a_band(taxonomy):
    """100 of 200 leukocytes are blasts; what line, the bundled model can't know."""
    blood = smear(taxonomy, lymphocyte=100, lymphoblast=100)
    (entry,) = ratio_entries(blood, Correction())
    assert (entry["value"], entry["band"], entry["band_reason"]) == (0.5, None, "lineage_not_known")
    assert entry["lines"] == [0.05, 0.10, 0.20]  # drawn, for orientation
    assert "for orientation only" in no_band_words(entry)
    assert "band" in [e["code"] for e in not_offered(taxonomy, "blood", Knowledge())]


def test_blasts_whose_line_nobody_stated_have_no_band():
    unstated = Taxonomy("theirs", ("blast", "neutrophil"), ("blast", "neutrophil"), blasts=("blast",))
    assert band(smear(unstated, blast=100, neutrophil=100)) == "lineage_not_known"
    stated = Taxonomy(
        "theirs", unstated.names, unstated.counted, blasts=("blast",), myeloid_blasts=("blast",), lineage_known=True
    )
    assert band(smear(stated, blast=100, neutrophil=100)) == ">=20"


# 3. From how many cells


def test_one_blast_among_five_cells_has_no_band():
    blood = smear(neutrophil=4, myeloblast=1)
    assert band(blood, "myeloid_blasts") == "too_few_cells"
    entry = ratio_entries(blood, Correction())[1]
    assert no_band_words(entry) == "No band: 5 leukocytes were counted, and a band needs 200."


@pytest.mark.parametrize(("n", "said"), [(199, "too_few_cells"), (200, ">=20")])
def test_blood_needs_200_leukocytes(n, said):
    assert band(smear(neutrophil=n - 100, myeloblast=100, erythroblast=300), "myeloid_blasts") == said


@pytest.mark.parametrize(("n", "said"), [(499, "too_few_cells"), (500, ">=20")])
def test_marrow_needs_500_nucleated_cells(n, said):
    assert band(marrow(neutrophil=n - 200, myeloblast=200)) == said


def test_whoever_asks_for_fewer_is_told_and_never_gets_a_band_below_100():
    blood = smear(neutrophil=100, myeloblast=20)
    assert band(blood, "myeloid_blasts", minimum=100) == "10-19"
    (few,) = [f for f in flags(blood, min_cells=100) if f["code"] == "few_cells"]
    assert few["text"] == (
        "Only 120 leukocytes were counted: 100 were asked for (--min-cells), laboratories count 200 in blood."
    )
    assert band(smear(neutrophil=4, myeloblast=1), "myeloid_blasts", minimum=5) == "too_few_cells"
    assert band(smear(neutrophil=200, myeloblast=20), "myeloid_blasts", minimum=400) == "too_few_cells"


def test_one_of_five_does_not_stand_above_18_of_100():
    def patient(name, blasts, n):
        counted = smear(neutrophil=n - blasts, myeloblast=blasts)
        return {"patient_id": name, "flags": [], "ratios": ratio_entries(counted, Correction())}

    people = [patient("few", 1, 5), patient("many", 18, 100), patient("none", 0, 300), patient("empty", 0, 0)]
    assert [p["patient_id"] for p in sorted(people, key=urgency)] == ["many", "few", "none", "empty"]


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

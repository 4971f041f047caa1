"""The clinical rules of ratios as worked examples: a smear, its ratios, bands, denominators. Read by haematologists.

Each test is one smear in plain numbers. docs/decisions/0019-clinical-rules.md gives the reasons and the sources.
"""

from __future__ import annotations

import pytest
from data.smear_counts import band, codes, marrow, smear

from leukoscope.count import ratio, ratios
from leukoscope.flags import Knowledge, flags, not_offered
from leukoscope.pipeline.ratios import Correction, ratio_entries
from leukoscope.report.choose import urgency
from leukoscope.report.run_html import _band as list_band
from leukoscope.report.words import no_band_words
from leukoscope.taxonomy import BLOOD_12, BLOOD_14, MARROW_16, PCM_9, Taxonomy

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
        "Only 120 leukocytes were counted: this run asked for 100 (--min-cells), laboratories count 200 in blood."
    )
    assert band(smear(neutrophil=4, myeloblast=1), "myeloid_blasts", minimum=5) == "too_few_cells"
    assert band(smear(neutrophil=200, myeloblast=20), "myeloid_blasts", minimum=400) == "too_few_cells"


def test_one_of_five_does_not_stand_above_18_of_100():
    def patient(name, blasts, n):
        counted = smear(neutrophil=n - blasts, myeloblast=blasts)
        return {"patient_id": name, "flags": [], "ratios": ratio_entries(counted, Correction())}

    people = [patient("few", 1, 5), patient("many", 18, 100), patient("none", 0, 300), patient("empty", 0, 0)]
    assert [p["patient_id"] for p in sorted(people, key=urgency)] == ["many", "few", "none", "empty"]

"""The corrected ratio in the record and in the report: said where it is known, and why not where it isn't."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from data import make_bundles, make_record

from leukoscope.count import COVERS, no_cells, ratio
from leukoscope.errors import ModelError
from leukoscope.models.bundle import read_card, write_card
from leukoscope.pipeline.ratios import CORRECTED_COVERS, Correction, ratio_entries
from leukoscope.pipeline.summary import summarise
from leukoscope.quantify import correct_patient
from leukoscope.report import write_report
from leukoscope.report.correction_html import corrected_ratio, further_cells
from leukoscope.taxonomy import BLOOD_12, MARROW_16
from leukoscope.types import Differential

LYMPHOBLAST, LYMPHOCYTE = BLOOD_12.index("lymphoblast"), BLOOD_12.index("lymphocyte")


def confusion(*, blasts=100):
    """Of 100 cells a class, 10 blasts are called lymphocytes and 5 lymphocytes blasts."""
    table = 100 * np.eye(12, dtype=int)
    table[LYMPHOCYTE, [LYMPHOCYTE, LYMPHOBLAST]] = 95, 5
    table[LYMPHOBLAST] = 0
    table[LYMPHOBLAST, [LYMPHOBLAST, LYMPHOCYTE]] = blasts * 9 // 10, blasts // 10
    return table


def patient(**counts):
    values = [counts.get(name, 0) for name in BLOOD_12.names]
    return Differential("p1", "blood", values, values, 1, BLOOD_12)


def entry(correction, **counts):
    (found,) = ratio_entries(patient(**counts), correction)
    return found


def words(html):
    parser, found = HTMLParser(), []
    parser.handle_data = found.append
    parser.feed(html)
    return " ".join(" ".join(found).split()).replace("\u00a0", " ")


# The record


def test_the_record_holds_the_counted_ratio_as_before_and_the_corrected_beside_it():
    counts = {"lymphoblast": 30, "lymphocyte": 120, "segmented_neutrophil": 50}
    found, counted = entry(Correction(confusion()), **counts), ratio(patient(**counts))
    assert (found["value"], found["band"], found["covers"]) == (0.15, None, COVERS)
    assert found["low"] == round(counted.low, 6)
    shipped = correct_patient(patient(**counts), confusion())
    corrected = found["corrected"]
    assert corrected["value"] == round(shipped.value, 6) and corrected["low"] == round(shipped.low, 6)
    assert corrected["low"] < corrected["value"] < 0.15 and corrected["reason"] is None
    assert corrected["covers"] == CORRECTED_COVERS and "another laboratory's stain" in CORRECTED_COVERS
    assert corrected["sensitivity"]["n_called"] == 90 and corrected["false_alarm"]["n_cells"] == 900  # no erythroblasts
    assert [e["threshold"] for e in found["further_cells"]] == [0.05, 0.1, 0.2]
    json.dumps(found, allow_nan=False)


def test_without_a_matrix_nothing_is_corrected():
    assert entry(Correction(), lymphoblast=3, lymphocyte=97)["corrected"] is None
    (found,) = ratio_entries(no_cells("p", "blood", BLOOD_12), Correction(confusion()))
    assert found["value"] is None and found["corrected"]["reason"] == "no_cells"
    assert found["corrected"]["value"] is found["corrected"]["low"] is None
    assert [e["cells"] for e in found["further_cells"]] == [None] * 3
    json.dumps(found, allow_nan=False)


def test_a_model_that_never_saw_a_blast_in_validation_corrects_no_blast_ratio():
    found = entry(Correction(confusion(blasts=0)), lymphoblast=3, lymphocyte=97)
    assert found["corrected"]["reason"] == "numerator_not_validated"
    assert found["corrected"]["value"] is None and found["corrected"]["sensitivity"]["value"] is None
    assert found["corrected"]["further_cells"] == []


def card_with(tmp_path, **values):
    bundle = make_bundles.make_model(tmp_path)
    path = Path(bundle) / "classifier" / "card.json"
    card = replace(read_card(path), **values)
    write_card(card, path)
    return card


def test_a_card_gives_its_matrix_and_a_studys_line(tmp_path):
    card = card_with(tmp_path, confusion=None, thresholds={"ratio_blasts": 0.3, "other": 1.0})
    correction = Correction.of(card)
    assert correction.confusion is None and correction.thresholds == {"blasts": (0.3,)}
    wrong = replace(card, confusion={"names": ["nobody"], "counts": "?"})
    with pytest.raises(ModelError, match="confusion matrix"):
        Correction.of(wrong)


def test_composites_have_no_line_unless_the_card_names_one():
    names = MARROW_16.names
    counts = [10] * len(names)
    differential = Differential("p", "marrow", counts, counts, 1, MARROW_16)
    table = 50 * np.eye(len(names), dtype=int) + 1
    blasts, cblc = ratio_entries(differential, Correction(table, {"blasts": (0.2,), "cblc": (0.35,)}))
    assert [e["threshold"] for e in cblc["further_cells"]] == [0.35] and cblc["band"] is None
    assert [e["threshold"] for e in cblc["corrected"]["further_cells"]] == [0.35]
    plain = ratio_entries(differential, Correction(table))[1]
    assert plain["further_cells"] == plain["corrected"]["further_cells"] == [] and plain["corrected"]["value"] > 0
    assert blasts["name"] == "blasts"


def test_summaries_carry_the_correction_through():
    key = {"file": "f.jpg", "patient_id": "p", "smear_id": "s", "center": "c", "status": "ok"}
    probs = {name: float(name == "lymphoblast") for name in BLOOD_12.names}
    cell = {"box": [0, 0, 9, 9], "score": 1.0, "probs": probs}
    (one,) = summarise(
        [key | {"cells": [cell]}], BLOOD_12, specimen="blood", min_cells=1, correction=Correction(confusion())
    )
    assert one["ratios"][0]["corrected"]["high"] == 1.0
    (plain,) = summarise([key | {"cells": [cell]}], BLOOD_12, specimen="blood", min_cells=1)
    assert plain["ratios"][0]["corrected"] is None


# The report


def test_the_report_says_both_ratios_and_what_each_covers():
    text = words(corrected_ratio(entry(Correction(confusion()), lymphoblast=30, lymphocyte=170)))
    assert text.startswith("Corrected for the classifier's errors")
    assert "95 % interval" in text and "in validation it called 90 of 100 blasts by that name" in text.lower()
    assert "and 5 of 900 other cells" in text and "another laboratory's stain" in text
    assert "found" in text and "of the others called blasts" in text


def test_the_report_names_the_bands_that_the_corrected_interval_reaches():
    wide = words(corrected_ratio(entry(Correction(confusion()), lymphoblast=20, lymphocyte=80)))
    assert "It reaches from below 5 % to 20 % or more, for orientation only." in wide
    narrow = words(corrected_ratio(entry(Correction(confusion()), lymphoblast=800, lymphocyte=200)))
    assert "It lies in 20 % or more, for orientation only." in narrow


@pytest.mark.parametrize(
    ("table", "counts", "said"),
    [
        (
            confusion(blasts=0),
            {"lymphoblast": 3, "lymphocyte": 97},
            "held no blasts, so how many it misses is not known",
        ),
        (np.diag([0] * 10 + [50, 0]), {"lymphoblast": 3, "lymphocyte": 97}, "held nothing but blasts"),
        (np.ones((12, 12), int), {"lymphoblast": 3, "lymphocyte": 97}, "was not shown to tell them apart"),
        (20 * confusion(), {"lymphocyte": 900}, "Fewer cells were called blasts than false alarms alone"),
    ],
)
def test_the_report_says_why_there_is_no_correction_or_what_to_doubt(table, counts, said):
    assert said in words(corrected_ratio(entry(Correction(table), **counts)))


def test_unvalidated_kinds_are_told():
    table = confusion()
    table[BLOOD_12.index("monocyte")] = 0
    text = words(corrected_ratio(entry(Correction(table), lymphoblast=20, lymphocyte=40, monocyte=40)))
    assert "40 % of the cells are of kinds that were never validated" in text


def test_further_cells_in_words():
    found = entry(Correction(confusion()), lymphoblast=15, lymphocyte=85)
    text = words(further_cells(found))
    assert text.startswith("Further cells to settle a line 5 %: none (above); 10 %: about ")
    assert "20 %: about" in text
    stuck = {"value": 0.2, "further_cells": [{"threshold": 0.2, "cells": None}]}
    assert "no number of cells, the share is too close" in words(further_cells(stuck))
    assert "the classifier's errors leave it open" in words(further_cells({"value": 0.2}, stuck))


def test_records_of_before_say_nothing_of_it_and_models_without_a_matrix_say_so():
    old = make_record.ratio("blasts", 12, 100)
    for later in ("corrected", "further_cells"):
        del old[later]
    assert corrected_ratio(old) == further_cells(old) == ""
    assert "no confusion matrix" in corrected_ratio(old | {"corrected": None, "further_cells": []})


def test_a_whole_report_with_corrections(tmp_path):
    paths = make_record.make_run(tmp_path, n_fields=6, n_cells=4)
    record = json.loads(paths["record"].read_text("utf-8"))
    names = record["provenance"]["taxonomy"]["names"]
    table = 60 * np.eye(len(names), dtype=int) + 1
    from leukoscope.taxonomy import Taxonomy

    taxonomy = Taxonomy.from_dict(record["provenance"]["taxonomy"])
    for one in record["patients"]:
        counts = [row["count"] for row in one["differential"]]
        one["ratios"] = ratio_entries(Differential("p", "blood", counts, counts, 1, taxonomy), Correction(table))
    paths["record"].write_text(json.dumps(record), "utf-8")
    write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
    text = words((tmp_path / "report.html").read_text("utf-8"))
    assert text.count("Corrected for the classifier's errors") == 9 and "Corrected Counted" in text
    assert "bands and flags go by the counted ratio" in text

"""FHIR: bundles that HL7's own definitions find nothing wrong with, and codes that mean what the number is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data.make_signed import make_signed

from leukoscope.errors import DataError
from leukoscope.exchange.codes import LOINC, local_codes
from leukoscope.exchange.fhir import bundle, code_system, signed_bundle
from leukoscope.exchange.findings import findings_of, findings_of_signed
from leukoscope.report import read_record
from leukoscope.taxonomy import BLOOD_14, PCM_9, Taxonomy, loinc

ARCHIVE = Path(__file__).parent / "archive"
MODULES = Path(sys.prefix) / "validators" / "node_modules"
HOSTILE = ("=cmd|' /C calc'!A0", "a\x00b\x1b[31m\r\nc", "\ud800odd\udc80", "x" * 300, " ", "", "患者 ‮١٢٣", "<b>&\"'")


@pytest.fixture(scope="module")
def records():
    return {v: read_record(ARCHIVE / f"record-{v}" / "record.json") for v in ("v1", "v2")}


@pytest.fixture(scope="module")
def found(records):
    return next(findings_of(records["v2"]))


def observation(made: dict, code: str) -> dict:
    """The one Observation of a code."""
    (found,) = (
        r
        for e in made["entry"]
        if (r := e["resource"])["resourceType"] == "Observation" and code in (c["code"] for c in r["code"]["coding"])
    )
    return found


def report_of(made: dict) -> dict:
    return made["entry"][0]["resource"]


def none_counted(findings):
    """The same patient with nothing counted."""
    empty = {"value": None, "low": None, "high": None, "numerator": 0, "denominator": 0, "corrected": None}
    rows = tuple(row | {"count": 0, "share": None} for row in findings.rows)
    ratios = tuple(ratio | empty for ratio in findings.ratios)
    per_100 = {"nucleated_red_per_100": None, "artefacts_per_100": None}
    return replace(findings, n_counted=0, n_cells=0, rows=rows, ratios=ratios, smear_ids=(), flags=(), **per_100)


def damaged(made: dict) -> dict:
    """A bundle with one fault for each reader to find."""
    made = json.loads(json.dumps(made))
    report_of(made)["status"] = "signed"
    row = observation(made, "cell.segmented_neutrophil")
    row["dataAbsentReason"] = {"text": "and a value"}
    del row["valueQuantity"]["system"]
    made["entry"][1]["fullUrl"] = made["entry"][2]["fullUrl"]
    return made


def test_hl7s_definitions_find_nothing(records, found, tmp_path):
    if shutil.which("node") is None or not (MODULES / "fhirpath").is_dir():
        pytest.skip(f"no FHIR validators here (node, and {MODULES}): `make test` installs them where npm is")
    signed = make_signed(records["v2"])
    made = {f"{v}-{n}": bundle(f) for v, r in records.items() for n, f in enumerate(findings_of(r))}
    made |= {
        "final": signed_bundle(signed, patient_system="urn:oid:1.2.3"),
        "amended": signed_bundle(signed | {"version": 2}),
        "none counted": bundle(none_counted(found)),
        "codes": code_system(),
        "damaged": damaged(bundle(found)),
    }
    made |= {
        f"hostile {n}": bundle(replace(found, patient_id=t, smear_ids=(t,), version=t, models=(t,), rows=(), flags=()))
        for n, t in enumerate(HOSTILE)
    }
    for name, content in made.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), "utf-8")
    script = Path(__file__).parent / "validators" / "validate_fhir.cjs"
    done = subprocess.run(
        ["node", script, MODULES, *sorted(tmp_path.glob("*.json"))], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    of_damaged = [text for text in said["findings"] if text.startswith("damaged")]
    assert [text for text in said["findings"] if text not in of_damaged] == []
    assert said["files"] == len(made) and said["constraints"] > 4000
    assert said["not_evaluated"] == ["txt-1", "txt-2"]  # of the narrative, by functions that are HL7's own
    for fault in ("status", "obs-6", "qty-3", "bdl-7"):
        assert any(fault in text for text in of_damaged), fault


def test_the_status_follows_the_signature(records, found):
    signed = make_signed(records["v2"])
    made = [bundle(found), signed_bundle(signed), signed_bundle(signed | {"version": 3})]
    assert [report_of(m)["status"] for m in made] == ["preliminary", "final", "amended"]
    assert {r["resource"].get("status") for r in made[1]["entry"]} == {"final", None}
    assert [report_of(m).get("issued") for m in made[:2]] == [None, "2026-11-26T14:05:09.123Z"]
    assert report_of(made[1])["resultsInterpreter"] == [{"display": "Dr. Grace Hopper"}]


def test_a_run_and_what_was_signed_of_it_are_one_report(records, found):
    signed = findings_of_signed(make_signed(records["v2"]) | {"record_sha256": found.run})
    made = [bundle(found), bundle(signed), bundle(replace(signed, signature=replace(signed.signature, version=2)))]
    assert len({report_of(m)["identifier"][0]["value"] for m in made}) == 1
    assert len({e["fullUrl"] for m in made for e in m["entry"]}) == sum(len(m["entry"]) for m in made)
    assert bundle(found) == made[0]


def test_numbers_are_the_records(found):
    made, ratio = bundle(found), found.ratios[0]
    blasts = observation(made, "26446-5")
    parts = {p["code"]["coding"][0]["code"]: p for p in blasts["component"]}
    assert blasts["valueQuantity"]["value"] == round(100 * ratio["value"], 4)
    limits = parts["interval"]["valueRange"]
    assert [limits[k]["value"] for k in ("low", "high")] == [round(100 * ratio[k], 4) for k in ("low", "high")]
    assert parts["denominator"]["valueQuantity"]["value"] == found.n_counted
    assert "95 %, clopper-pearson" in parts["interval"]["code"]["text"]
    for row in found.rows:
        one = observation(made, f"cell.{row['class']}")
        assert one["valueQuantity"]["value"] == (row["count"] if row["share"] is None else round(100 * row["share"], 4))
    assert observation(made, "19048-8")["valueQuantity"]["code"] == "/100{WBCs}"
    flags = [e["resource"]["valueCodeableConcept"] for e in made["entry"] if "valueCodeableConcept" in e["resource"]]
    assert [f["coding"][0]["code"] for f in flags] == [f"flag.{flag['code']}" for flag in found.flags]
    assert "Research use only" in report_of(made)["conclusion"]


def test_every_reference_leads_to_an_entry(found):
    made = bundle(replace(found, smear_ids=("s1", "s2")))
    addresses = {e["fullUrl"] for e in made["entry"]}
    text = json.dumps(made)
    assert text.count('"reference"') > 30
    assert all(part.split('"')[0] in addresses for part in text.split('"reference": "')[1:])
    assert len(report_of(made)["specimen"]) == 2
    assert "specimen" not in observation(made, "counted-cells")  # of both smears


def test_loinc_is_for_shares_of_leukocytes_in_blood_only(records, found):
    old, marrow = next(findings_of(records["v1"])), replace(found, specimen="marrow", denominator="nucleated_cells")
    marrow = replace(marrow, ratios=tuple(r | {"of": "nucleated_cells"} for r in marrow.ratios))
    assert LOINC not in json.dumps(bundle(old)) and LOINC not in json.dumps(bundle(marrow))
    systems = [c["system"] for c in report_of(bundle(found))["code"]["coding"]]
    assert LOINC not in systems  # 24318-8 is a count by a person
    signed = signed_bundle(make_signed(records["v2"]))
    assert [c["code"] for c in report_of(signed)["code"]["coding"]] == ["24318-8", "differential"]


def test_a_rest_of_a_class_is_not_the_class():
    of_neutrophils = Taxonomy("n", ("neutrophil", "band_neutrophil"), ("neutrophil", "band_neutrophil"))
    assert loinc.loinc_of_class("neutrophil", of_neutrophils) is None
    assert loinc.loinc_of_class("band_neutrophil", of_neutrophils) == loinc.CLASSES["band_neutrophil"]
    assert loinc.loinc_of_blasts(BLOOD_14) == loinc.BLASTS
    with_equivalents = Taxonomy("e", ("blast", "promonocyte"), ("blast", "promonocyte"), ("blast", "promonocyte"))
    assert loinc.loinc_of_blasts(with_equivalents) is None
    assert loinc.loinc_of_blasts(Taxonomy("none", PCM_9.names, PCM_9.counted)) is None


def test_every_loinc_code_has_its_check_digit():
    codes = [*loinc.CLASSES.values(), loinc.BLASTS, loinc.NUCLEATED_RED, loinc.MANUAL_DIFFERENTIAL]
    assert len({code for code, _ in codes}) == len(codes)
    for code, _ in codes:
        digits, check = code.split("-")
        doubled = [sum(divmod(2 * int(d), 10)) if n % 2 == 0 else int(d) for n, d in enumerate(digits[::-1])]
        assert -sum(doubled) % 10 == int(check), code
    assert -sum([sum(divmod(2 * int(d), 10)) if n % 2 == 0 else int(d) for n, d in enumerate("64462")]) % 10 != 6


def test_the_docs_list_every_loinc_code(root):
    page = (root / "docs" / "exchange.md").read_text("utf-8")
    rows = [f"| `{name}` | {code} | {display} |" for name, (code, display) in loinc.CLASSES.items()]
    rows += [
        f"| {code} | {display} |" for code, display in (loinc.BLASTS, loinc.NUCLEATED_RED, loinc.MANUAL_DIFFERENTIAL)
    ]
    assert [text for text in rows if text not in page] == []


def test_ids_that_no_format_holds_are_written_out(found):
    made = [bundle(replace(found, patient_id=text))["entry"][0]["resource"]["subject"] for text in HOSTILE]
    assert made[1]["identifier"]["value"] == "a\\x00b\\x1b[31m\\x0d\\nc"
    assert made[2]["identifier"]["value"] == "\\ud800odd\\udc80"
    assert made[4] == made[5] == {"type": "Patient", "display": "not stated"}


def test_codes_of_ours_are_each_once():
    codes = [code.code for code in local_codes()]
    assert len(codes) == len(set(codes)) and all(code == "".join(code.split()) for code in codes)


@pytest.mark.parametrize("change", [{"signed_version": 9}, {"numbers": None}])
def test_what_is_no_signed_record_is_refused(records, change):
    signed = {k: v for k, v in (make_signed(records["v2"]) | change).items() if v is not None}
    with pytest.raises(DataError, match="no signed record of version 1"):
        signed_bundle(signed)

"""The Observations of a bundle: a class each, the ratios with their intervals, what stands beside, the flags."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leukoscope.count import LEUKOCYTES
from leukoscope.exchange import codes as c
from leukoscope.exchange.codes import Code
from leukoscope.exchange.findings import Findings
from leukoscope.exchange.text import one_line, printable
from leukoscope.report.words import band_words, flag_words, no_band_words, none_seen_words

_UCUM = "http://unitsofmeasure.org"
_CATEGORY = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
            "display": "Laboratory",
        }
    ]
}
# HL7's reason for a value that is not there: nothing was counted.
_NO_VALUE = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
            "code": "not-applicable",
            "display": "Not Applicable",
        }
    ],
    "text": "No cells were counted",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What all resources of a bundle share: the report's status, whose it is, of which specimen, by which device."""

    status: str
    subject: dict
    specimen: dict | None
    device: dict
    performers: Sequence[dict]
    issued: str | None = None


def observations(findings: Findings, context: Context, address: Callable[[str], str]) -> dict[str, dict]:
    """Name -> Observation, in the order of a report; `address(name)` is where the bundle has it.

    The classes ("cell ...") are members of "differential".
    """
    classes = {f"cell {n}": _of_class(findings, row, context) for n, row in enumerate(findings.rows)}
    whole = _observation(context, c.codes_of_differential(findings))
    whole["hasMember"] = [{"reference": address(name)} for name in classes]
    resources = {"differential": whole, **classes}
    resources["counted"] = _observation(context, [c.COUNTED]) | {"valueQuantity": _cells(findings.n_counted)}
    resources["unidentified"] = _observation(context, [c.UNIDENTIFIED]) | {
        "valueQuantity": _cells(findings.n_unidentified)
    }
    resources |= {f"ratio {n}": _of_ratio(findings, ratio, context) for n, ratio in enumerate(findings.ratios)}
    if findings.specimen == "blood" and findings.denominator == LEUKOCYTES:
        codes, value = c.codes_of_nucleated_red(), findings.nucleated_red_per_100
        resources["nucleated red"] = _observation(context, codes) | _value(_per_100(value, "{WBCs}"))
    value = _per_100(findings.artefacts_per_100, "{cells}")
    resources["artefacts"] = _observation(context, [c.ARTEFACTS_PER_100]) | _value(value)
    resources |= {f"flag {n}": _of_flag(flag, context) for n, flag in enumerate(findings.flags)}
    return resources


def _of_class(findings: Findings, row: dict, context: Context) -> dict:
    """The share with the number of cells beside it; of what is not in the denominator the number alone."""
    resource = _observation(context, c.codes_of_class(findings, row))
    if row["role"] != "counted":
        return resource | {"valueQuantity": _cells(row["count"])}
    return resource | _value(_percent(row["share"])) | {"component": [_component(c.COUNT, _cells(row["count"]))]}


def _of_ratio(findings: Findings, ratio: dict, context: Context) -> dict:
    resource = _observation(context, c.codes_of_ratio(findings, ratio)) | _value(_percent(ratio["value"]))
    parts = [
        _component(c.NUMERATOR, _cells(ratio["numerator"])),
        _component(c.DENOMINATOR, _cells(ratio["denominator"])),
    ]
    level = f"{100 * ratio['level']:.0f} %, {ratio['method']}"
    if ratio["value"] is not None:
        parts.append(_range(c.INTERVAL, ratio, level))
    corrected = ratio.get("corrected") or {}
    if corrected.get("value") is not None:
        parts.append(_component(c.CORRECTED, _percent(corrected["value"])))
        level = f"{100 * corrected['level']:.0f} %, {corrected['method']}"
        parts.append(_range(c.CORRECTED_INTERVAL, corrected, level))
    if ratio["band"] is not None:
        parts.append(_component(c.BAND) | {"valueString": band_words(ratio["band"])})
    notes = [f"Covers {ratio['covers']}." if ratio.get("covers") else None, no_band_words(ratio)]
    notes += [none_seen_words(ratio), f"The corrected interval covers {corrected['covers']}." if corrected else None]
    return resource | {"component": parts, "note": [{"text": _plain(text)} for text in notes if text]}


def _of_flag(flag: dict, context: Context) -> dict:
    code = c.flag_code(flag["code"], _plain(flag_words(flag)))
    value = {"coding": [{"system": code.system, "code": code.code}], "text": code.display}
    return _observation(context, [c.FLAG]) | {"valueCodeableConcept": value}


def _observation(context: Context, codes: Sequence[Code]) -> dict:
    return {
        "resourceType": "Observation",
        "status": context.status,
        "category": [_CATEGORY],
        "code": _concept(codes),
        "subject": context.subject,
        "issued": context.issued,
        "performer": list(context.performers),
        "specimen": context.specimen,
        "device": context.device,
    }


def _component(code: Code, quantity: dict | None = None) -> dict:
    return {"code": _concept([code])} | ({} if quantity is None else {"valueQuantity": quantity})


def _range(code: Code, ratio: dict, level: str) -> dict:
    component = _component(code)
    component["code"] = component["code"] | {"text": f"{code.display} ({level})"}
    return component | {"valueRange": {"low": _percent(ratio["low"]), "high": _percent(ratio["high"])}}


def _concept(codes: Sequence[Code]) -> dict:
    return {"coding": [coding(code) for code in codes], "text": one_line(codes[-1].display)}


def coding(code: Code) -> dict:
    """A code as FHIR has it."""
    return {"system": code.system, "code": code.code, "display": one_line(code.display)}


def _value(quantity: dict | None) -> dict:
    return {"dataAbsentReason": _NO_VALUE} if quantity is None else {"valueQuantity": quantity}


def _percent(share: float | None) -> dict | None:
    return None if share is None else {"value": round(100 * share, 4), "unit": "%", "system": _UCUM, "code": "%"}


def _per_100(value: float | None, cells: str) -> dict | None:
    if value is None:
        return None
    code = f"/100{cells}"
    return {"value": round(value, 4), "unit": f"per 100 {cells.strip('{}')}", "system": _UCUM, "code": code}


def _cells(number: int) -> dict:
    return {"value": number, "unit": "cells", "system": _UCUM, "code": "{cells}"}


def _plain(text: str) -> str:
    """Without the spaces that do not break, which only pages need."""
    return printable(text).replace("\u00a0", " ")

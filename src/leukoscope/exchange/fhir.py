"""FHIR R4: one patient's findings as a Bundle of DiagnosticReport, Observations, Specimens and Device.

Plain JSON, checked in the tests against HL7's own definitions (docs/exchange.md). Nothing here counts anything.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from leukoscope.exchange.codes import LOCAL, codes_of_differential, local_codes
from leukoscope.exchange.fhir_observations import Context, coding, observations
from leukoscope.exchange.findings import Findings, findings_of_signed
from leukoscope.exchange.text import one_line, printable
from leukoscope.report.words import USE, class_words, escape, no_band_words, percent, ratio_words

_V2 = "http://terminology.hl7.org/CodeSystem/v2-"
_SPECIMENS = {"blood": ("BLD", "Whole blood"), "marrow": ("MAR", "Marrow")}  # HL7 table 0487


def signed_bundle(signed: dict, *, patient_system: str | None = None) -> dict:
    """A signed record of the reading room (its JSON, parsed) as a Bundle: `final`, or `amended` from version 2 on."""
    return bundle(findings_of_signed(signed), patient_system=patient_system)


def bundle(findings: Findings, *, patient_system: str | None = None) -> dict:
    """A Bundle (type collection) as plain types for JSON. The same findings give the same bundle, ids included.

    patient_system  the address of the name space that the patient ids are of, as the hospital has it; None: not said
    Status: `preliminary` until signed, `final` when signed, `amended` when signed again after it was re-opened. The
    report's identifier stays the same through these.
    """
    version = findings.signature.version if findings.signature else 0

    def address(name: str) -> str:
        return f"urn:uuid:{_key(findings, f'{version}/{name}')}"

    smears = {f"specimen {n}": smear for n, smear in enumerate(findings.smear_ids)}
    context = _context(findings, _subject(findings.patient_id, patient_system), address, list(smears))
    observed = observations(findings, context, address)
    resources = {"report": _report(findings, context, address, list(smears), list(observed))}
    resources |= {name: _specimen(findings.specimen, smear, context.subject) for name, smear in smears.items()}
    resources |= {"device": _device(findings)} | observed
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"fullUrl": address(name), "resource": _with_id(_filled(resource), address(name).removeprefix("urn:uuid:"))}
            for name, resource in resources.items()
        ],
    }


def code_system() -> dict:
    """The codes of ours as a CodeSystem, for whoever receives a bundle."""
    seen = {code.code: code.display for code in local_codes()}
    return {
        "resourceType": "CodeSystem",
        "id": "leukoscope",
        "url": LOCAL,
        "name": "Leukoscope",
        "title": "Leukoscope's codes, where no LOINC code was seen at its source",
        "status": "active",
        "caseSensitive": True,
        "content": "fragment",
        "concept": [{"code": code, "display": display} for code, display in sorted(seen.items())],
    }


def _context(findings: Findings, subject: dict, address: Callable[[str], str], smears: list[str]) -> Context:
    signed = findings.signature
    return Context(
        status="preliminary" if signed is None else "final" if signed.version == 1 else "amended",
        subject=subject,
        # An Observation has one specimen: where the count is over several smears the report names them.
        specimen={"reference": address(smears[0])} if len(smears) == 1 else None,
        device={"reference": address("device")},
        performers=[{"display": one_line(signed.by) or "not stated"}] if signed else [],
        issued=_instant(signed.at_ms) if signed and signed.at_ms is not None else None,
    )


def _report(
    findings: Findings, context: Context, address: Callable[[str], str], smears: list[str], results: list[str]
) -> dict:
    codes = codes_of_differential(findings)
    return {
        "resourceType": "DiagnosticReport",
        "text": {"status": "generated", "div": _narrative(findings)},
        "identifier": [{"system": LOCAL, "value": f"report/{_key(findings, 'report')}"}],
        "status": context.status,
        "category": [{"coding": [{"system": f"{_V2}0074", "code": "HM", "display": "Hematology"}]}],
        "code": {"coding": [coding(c) for c in codes], "text": codes[-1].display},
        "subject": context.subject,
        "issued": context.issued,
        "resultsInterpreter": list(context.performers),
        "specimen": [{"reference": address(name)} for name in smears],
        # The classes are members of the differential.
        "result": [{"reference": address(name)} for name in results if not name.startswith("cell ")],
        "conclusion": _conclusion(findings),
    }


def _conclusion(findings: Findings) -> str:
    """The ratios and the flags in the words of the report, and what all of it is for."""
    lines = []
    for ratio in findings.ratios:
        lines.append(f"{class_words(ratio['name'])}: {ratio_words(ratio)}.")
        lines += [words] if (words := no_band_words(ratio)) else []
    lines += [str(flag["text"]) for flag in findings.flags]
    return printable("\n".join([*lines, f"{USE}."])).replace("\u00a0", " ")


def _narrative(findings: Findings) -> str:
    rows = "".join(
        f"<tr><td>{escape(one_line(class_words(row['class'])))}</td><td>{row['count']}</td>"
        f"<td>{percent(row['share'])}</td></tr>"
        for row in findings.rows
    )
    said = "".join(f"<p>{escape(line)}</p>" for line in _conclusion(findings).split("\n"))
    return (
        '<div xmlns="http://www.w3.org/1999/xhtml"><table><tr><th>Class</th><th>Cells</th><th>Share</th></tr>'
        f"{rows}</table>{said}</div>"
    )


def _specimen(kind: str, smear_id: str, subject: dict) -> dict:
    code, display = _SPECIMENS[kind]
    coded = [{"system": f"{_V2}0487", "code": code, "display": display}]
    return {
        "resourceType": "Specimen",
        "identifier": [{"value": one_line(smear_id)}],
        "type": {"coding": coded, "text": f"{display}, stained smear"},
        "subject": subject,
    }


def _device(findings: Findings) -> dict:
    return {
        "resourceType": "Device",
        "deviceName": [{"name": "Leukoscope", "type": "model-name"}],
        "version": [{"value": one_line(value)} for value in (findings.version or "unknown", *findings.models)],
        "note": [{"text": f"{USE}."}],
    }


def _subject(patient_id: str, system: str | None) -> dict:
    """By the laboratory's own id: who receives the bundle knows the patient, and a second one is not made of it."""
    value = one_line(patient_id)
    if not value:
        return {"type": "Patient", "display": "not stated"}
    return {"type": "Patient", "identifier": {"system": system, "value": value}}


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(findings: Findings, name: str) -> uuid.UUID:
    """The same for the same patient of the same run, whether signed or not."""
    whose = f"{findings.run}/{findings.specimen}/{findings.patient_id}/{name}"
    return uuid.uuid5(uuid.NAMESPACE_OID, whose.encode("utf-8", "surrogatepass").hex())


def _filled(value: object) -> object:
    """Without empty texts, lists and objects, which FHIR forbids: an id of blanks is none."""
    if isinstance(value, dict):
        return {k: kept for k, v in value.items() if (kept := _filled(v)) not in ("", [], {}, None)}
    if isinstance(value, list):
        return [kept for v in value if (kept := _filled(v)) not in ("", [], {}, None)]
    return value


def _with_id(resource: dict, id_: str) -> dict:
    return {"resourceType": resource["resourceType"], "id": id_} | resource

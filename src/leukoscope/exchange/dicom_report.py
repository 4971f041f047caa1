"""The differential and its intervals as a structured report (TID 1500), verified where somebody signed."""

from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    TextContentItem,
    TrackingIdentifier,
)
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from leukoscope.exchange import codes as c
from leukoscope.exchange.codes import Code
from leukoscope.exchange.dicom_common import MANUFACTURER, MODEL, Whose, concept, finish, fits, start
from leukoscope.exchange.dicom_image import VL_MICROSCOPIC_IMAGE
from leukoscope.exchange.findings import Findings, Signature
from leukoscope.exchange.text import printable
from leukoscope.report.words import USE, band_words, flag_words, no_band_words, none_seen_words

_PERCENT = CodedConcept("%", "UCUM", "Percent")
_CELLS = CodedConcept("{cells}", "UCUM", "cells")
_PER_100 = {"leukocytes": CodedConcept("/100{WBCs}", "UCUM", "per 100 leukocytes"),
            "cells": CodedConcept("/100{cells}", "UCUM", "per 100 cells")}  # fmt: skip
VERSION = "1"  # of the layout of groups, for who reads the tracking identifiers


def report_object(whose: Whose, findings: Findings, images: Sequence[Dataset]) -> Dataset:
    """One patient's report over the photographs `images` (their headers; may be empty)."""
    signed = findings.signature
    report = MeasurementReport(
        observation_context=_observers(whose, signed),
        procedure_reported=concept(c.codes_of_differential(findings)[0]),
        imaging_measurements=[
            _differential(whose, findings),
            *(_ratio(whose, findings, ratio) for ratio in findings.ratios),
            *_flags(whose, findings),
        ],
        title=standard.DCM.ImagingMeasurementReport,
    )
    for text in _comments(findings):
        report[0].ContentSequence.append(TextContentItem(standard.DCM.Comment, text, relationship_type="CONTAINS"))
    version = signed.version if signed else 0
    document = ComprehensiveSR(
        evidence=list(images) or [_of_no_image(whose)],
        content=report[0],
        series_instance_uid=whose.uid("reports"),
        series_number=3,
        sop_instance_uid=whose.uid(f"report {version}"),
        instance_number=version + 1,
        manufacturer=MANUFACTURER,
        is_complete=signed is not None,
        is_final=signed is not None,
        is_verified=signed is not None,
        verifying_observer_name=_person(signed) if signed else None,
        verifying_organization=fits(", ".join(findings.centers)) or "not stated" if signed else None,
        record_evidence=bool(images),
        specific_character_set="ISO_IR 192",
    )
    document.ManufacturerModelName, document.SoftwareVersions = MODEL, fits(whose.version or "unknown")
    finish(document, whose)
    if signed:
        document.VerifyingObserverSequence[0].VerificationDateTime = whose.time.strftime("%Y%m%d%H%M%S")
    return document


def _observers(whose: Whose, signed: Signature | None) -> ObservationContext:
    device = ObserverContext(
        standard.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=whose.uid("device"), name=MODEL, manufacturer_name=MANUFACTURER, model_name=MODEL
        ),
    )
    if signed is None:
        return ObservationContext(observer_device_context=device)
    person = ObserverContext(standard.DCM.Person, PersonObserverIdentifyingAttributes(name=_person(signed)))
    return ObservationContext(observer_person_context=person, observer_device_context=device)


def _differential(whose: Whose, findings: Findings) -> MeasurementsAndQualitativeEvaluations:
    """The cells of each class, the shares of those in the denominator, and what stands beside."""
    measurements = [
        _measurement([c.COUNTED], findings.n_counted, _CELLS),
        _measurement([c.UNIDENTIFIED], findings.n_unidentified, _CELLS),
    ]
    for row in findings.rows:
        measurements.append(_measurement([c.cell_code(row["class"])], row["count"], _CELLS))
        if row["share"] is not None:
            measurements.append(_measurement(c.codes_of_share(findings, row), 100 * row["share"], _PERCENT))
    if findings.nucleated_red_per_100 is not None:
        codes = c.codes_of_nucleated_red()
        measurements.append(_measurement(codes, findings.nucleated_red_per_100, _PER_100["leukocytes"]))
    if findings.artefacts_per_100 is not None:
        measurements.append(_measurement([c.ARTEFACTS_PER_100], findings.artefacts_per_100, _PER_100["cells"]))
    return _group(whose, "differential", c.DIFFERENTIAL, measurements)


def _ratio(whose: Whose, findings: Findings, ratio: dict) -> MeasurementsAndQualitativeEvaluations:
    """A ratio with the limits of its interval, each a number of its own: no reader has to add anything."""
    corrected = ratio.get("corrected") or {}
    shares = [
        *((code, ratio[key]) for code, key in ((c.LOWER, "low"), (c.UPPER, "high"))),
        *((code, corrected.get(key)) for code, key in
          ((c.CORRECTED, "value"), (c.CORRECTED_LOWER, "low"), (c.CORRECTED_UPPER, "high"))),
    ]  # fmt: skip
    measurements = [_measurement([c.NUMERATOR], ratio["numerator"], _CELLS)]
    measurements.append(_measurement([c.DENOMINATOR], ratio["denominator"], _CELLS))
    if ratio["value"] is not None:
        measurements.append(_measurement(c.codes_of_ratio(findings, ratio), 100 * ratio["value"], _PERCENT))
    measurements += [_measurement([code], 100 * share, _PERCENT) for code, share in shares if share is not None]
    band = band_words(ratio["band"])
    said = [] if band is None else [_evaluation(c.BAND, c.local(f"band.{ratio['band']}", band))]
    return _group(whose, f"ratio {ratio['name']}", c.ratio_code(ratio["name"]), measurements, said)


def _flags(whose: Whose, findings: Findings) -> list[MeasurementsAndQualitativeEvaluations]:
    """The codes of the flags; their words, which are longer than a code's meaning may be, are comments."""
    said = [
        _evaluation(c.FLAG, c.flag_code(flag["code"], str(flag["code"]).replace("_", " "))) for flag in findings.flags
    ]
    return [_group(whose, "flags", c.FLAG, [], said)] if said else []


def _comments(findings: Findings) -> list[str]:
    texts = [flag_words(flag) for flag in findings.flags]
    for ratio in findings.ratios:
        level = f"{100 * ratio['level']:.0f} % interval, {ratio['method']}"
        covers = f"{ratio['name'].replace('_', ' ')}: {level}; it covers {ratio.get('covers') or 'sampling error'}."
        texts += [covers, no_band_words(ratio), none_seen_words(ratio)]
    return [printable(text).replace("\u00a0", " ") for text in (*texts, f"{USE}.") if text]


def _group(
    whose: Whose, what: str, finding: Code, measurements: Sequence, said: Sequence = ()
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=whose.uid(f"{what} {VERSION}"), identifier=fits(what)),
        finding_type=concept(finding),
        algorithm_id=AlgorithmIdentification(fits(", ".join(whose.models) or MODEL), fits(whose.version or "unknown")),
        measurements=list(measurements),
        qualitative_evaluations=list(said),
    )


def _measurement(codes: Sequence[Code], value: float, unit: CodedConcept) -> Measurement:
    """A number under the first of its codes, LOINC where there is one."""
    return Measurement(concept(codes[0]), round(value, 4), unit)


def _evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    return QualitativeEvaluation(concept(name), concept(value))


def _person(signed: Signature) -> str:
    """A reader's name for PN, whose special characters divide it into parts: all of it is the first one."""
    return f"{fits(signed.by.translate(str.maketrans('^=', '  ')), 60) or 'not stated'}^"


def _of_no_image(whose: Whose) -> Dataset:
    """Where no photograph is at hand: the patient and the study alone, which the report takes over."""
    header = start(whose, VL_MICROSCOPIC_IMAGE, "no image")
    header.SeriesInstanceUID = whose.uid("photographs")
    return header

"""What all DICOM objects of an export share: whose they are, by which program, when, and texts that fit."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from highdicom import AlgorithmIdentificationSequence
from highdicom.content import SpecimenDescription
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes as standard
from pydicom.uid import ExplicitVRLittleEndian

from leukoscope.exchange.codes import DICOM_SCHEME, LOCAL, LOINC, OID, Code
from leukoscope.exchange.text import one_line, shortened, with_digest

MANUFACTURER, MODEL = "Leukoscope", "Leukoscope"
_SCHEMES = {LOCAL: DICOM_SCHEME, LOINC: "LN"}
_LONGEST_MEANING = 64
# SNOMED CT as DICOM names it: CID 8103 and pydicom's own dictionary have no code for a smear, so the specimen is named.
_SPECIMENS = {"blood": "Blood smear", "marrow": "Marrow smear"}


@dataclass(frozen=True, slots=True)
class Whose:
    """A patient of one run, as DICOM names it.

    run      digest of the record: UIDs follow from it, so the same export gives the same objects
    version  of Leukoscope
    time     when the record was made, or signed
    anonymous  patient, smears and centres are pseudonyms
    """

    run: str
    patient_id: str
    specimen: str
    version: str
    models: tuple[str, ...]
    time: datetime
    anonymous: bool = False

    def uid(self, what: str) -> str:
        """A unique identifier of one of its objects (PS3.5 B.2: a UUID below 2.25)."""
        named = f"{self.run}/{self.specimen}/{self.patient_id}/{what}".encode("utf-8", "surrogatepass").hex()
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, named).int}"


def fits(text: str, most: int = 64) -> str:
    """A text for LO, SH or UC: without backslashes, which divide values; a changed one ends in a digest of what it was,
    so that two never become one."""
    plain = one_line(text)
    kept = plain.replace("\\", "/")
    return shortened(kept, most) if kept == text.strip() else with_digest(kept, most, of=text)


def concept(code: Code) -> CodedConcept:
    """A code as DICOM has it; a long one is a Long Code Value."""
    meaning = shortened(one_line(code.display).replace("\\", "/"), _LONGEST_MEANING) or code.code[:_LONGEST_MEANING]
    return CodedConcept(code.code, _SCHEMES[code.system], meaning)


def algorithm(whose: Whose) -> AlgorithmIdentificationSequence:
    """What found and named the cells."""
    name = fits(", ".join(whose.models) or MODEL)
    return AlgorithmIdentificationSequence(
        name=name, family=standard.DCM.ArtificialIntelligence, version=fits(whose.version or "unknown")
    )


def start(whose: Whose, sop_class: str, what: str) -> Dataset:
    """A data set with the patient, the study and the equipment; of no name, date of birth or sex."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID, header.SOPInstanceUID = sop_class, whose.uid(what)
    header.PatientID, header.PatientName = fits(whose.patient_id), ""
    header.PatientBirthDate, header.PatientSex = "", ""
    header.StudyInstanceUID, header.StudyID, header.AccessionNumber = whose.uid("study"), "", ""
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "", "", ""
    header.Manufacturer, header.ManufacturerModelName = MANUFACTURER, MODEL
    header.SoftwareVersions, header.DeviceSerialNumber = fits(whose.version or "unknown"), "0"
    return header


def finish(header: Dataset, whose: Whose) -> None:
    """Set what is the same in all, over what a library put there: the record's time, our codes, the file's head."""
    date, time = whose.time.strftime("%Y%m%d"), whose.time.strftime("%H%M%S")
    header.InstanceCreationDate, header.InstanceCreationTime = date, time
    header.ContentDate, header.ContentTime = date, time
    for helper in header.get("ContributingEquipmentSequence", ()):  # highdicom, which names itself
        helper.ContributionDateTime = date + time
    if whose.anonymous:
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = "Leukoscope: pseudonyms; pictures hold pixels only"
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = DICOM_SCHEME, "Leukoscope's codes"
    scheme.CodingSchemeUID, scheme.CodingSchemeResponsibleOrganization = OID, MANUFACTURER
    header.CodingSchemeIdentificationSequence = [scheme]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = OID, "LEUKOSCOPE"
    header.file_meta = meta


def add_specimen(header: Dataset, whose: Whose, smear_id: str) -> None:
    """The Specimen module: the smear is the container, and what is on it the specimen."""
    smear = fits(smear_id) or "not stated"
    header.ContainerIdentifier = smear
    header.IssuerOfTheContainerIdentifierSequence = []
    header.ContainerTypeCodeSequence = [CodedConcept.from_code(standard.SCT.MicroscopeSlide)]
    words = f"{_SPECIMENS[whose.specimen]}, stained"
    header.SpecimenDescriptionSequence = [
        SpecimenDescription(smear, whose.uid(f"smear {smear_id}"), specimen_short_description=words)
    ]

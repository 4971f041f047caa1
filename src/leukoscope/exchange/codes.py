"""What a number is called in other systems: LOINC where a code was seen at its source, else a code system of ours."""

from collections.abc import Iterator
from dataclasses import dataclass

from leukoscope.count import LEUKOCYTES
from leukoscope.exchange.findings import Findings
from leukoscope.report.words import class_words
from leukoscope.taxonomy import VOCABULARY
from leukoscope.taxonomy.loinc import MANUAL_DIFFERENTIAL, NUCLEATED_RED, loinc_of_blasts, loinc_of_class

# A UUID as an object identifier (ITU-T X.667): it needs no registration and no web domain that may be lost.
OID = "2.25.183182553940347052895610629764904112568"
LOCAL, LOINC = f"urn:oid:{OID}", "http://loinc.org"
DICOM_SCHEME = "99LEUKOSCOPE"  # the same code system in DICOM, where private ones begin with 99


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a system, with the words for people."""

    system: str
    code: str
    display: str


def local(code: str, display: str) -> Code:
    """A code of ours."""
    return Code(LOCAL, code, display)


DIFFERENTIAL = local("differential", "Differential count from smear photographs")
COUNTED = local("counted-cells", "Cells counted: the denominator of the differential")
UNIDENTIFIED = local("unidentified-cells", "Cells found and not identified, in no class")
NUCLEATED_RED_PER_100 = local("nucleated-red-per-100", "Nucleated red cells per 100 leukocytes")
ARTEFACTS_PER_100 = local("artefacts-per-100", "Smudge cells and artefacts per 100 counted cells")
FLAG = local("flag", "What a reader must know before the numbers")
COUNT = local("count", "Number of cells")
NUMERATOR = local("numerator", "Cells of the numerator")
DENOMINATOR = local("denominator", "Cells of the denominator")
INTERVAL = local("interval", "Interval of the ratio")
LOWER = local("interval-lower", "Lower limit of the interval of the ratio")
UPPER = local("interval-upper", "Upper limit of the interval of the ratio")
CORRECTED = local("corrected", "Ratio with the classifier's errors taken out")
CORRECTED_INTERVAL = local("corrected-interval", "Interval of the corrected ratio")
CORRECTED_LOWER = local("corrected-lower", "Lower limit of the interval of the corrected ratio")
CORRECTED_UPPER = local("corrected-upper", "Upper limit of the interval of the corrected ratio")
BAND = local("band", "ELN/ICC range of the ratio, in percent")
CELL = local("cell", "Cell of a smear")
NOT_IDENTIFIED = local("cell.unidentified", "Cell that was not identified")
_FIXED = (DIFFERENTIAL, COUNTED, UNIDENTIFIED, NUCLEATED_RED_PER_100, ARTEFACTS_PER_100, FLAG, COUNT, NUMERATOR,
          DENOMINATOR, INTERVAL, LOWER, UPPER, CORRECTED, CORRECTED_INTERVAL, CORRECTED_LOWER, CORRECTED_UPPER, BAND,
          CELL, NOT_IDENTIFIED)  # fmt: skip
_RATIOS = {"blasts": "Blasts", "myeloid_blasts": "Blasts of the myeloid line", "lymphoid_blasts":
           "Blasts of the lymphoid line"}  # fmt: skip


def cell_code(class_name: str) -> Code:
    """A class of cells."""
    return local(f"cell.{_word(class_name)}", class_words(class_name))


def flag_code(code: str, text: str) -> Code:
    """A flag; its words are those of this patient."""
    return local(f"flag.{_word(code)}", text)


def ratio_code(name: str) -> Code:
    """A ratio by its name in the record."""
    return local(f"ratio.{_word(name)}", f"{_RATIOS.get(name, class_words(name))} as a share of the counted cells")


def codes_of_differential(findings: Findings) -> list[Code]:
    """The differential as a whole; LOINC's panel is of a count by a person, so only what was signed has it."""
    is_manual = findings.signature is not None and findings.denominator == LEUKOCYTES
    return [*([Code(LOINC, *MANUAL_DIFFERENTIAL)] if is_manual else []), DIFFERENTIAL]


def codes_of_class(findings: Findings, row: dict) -> list[Code]:
    """One class of the differential; LOINC where the share is of the leukocytes in blood."""
    known = loinc_of_class(row["class"], findings.taxonomy) if findings.denominator == LEUKOCYTES else None
    known = known if row["role"] == "counted" else None
    return [*([Code(LOINC, *known)] if known else []), cell_code(row["class"])]


def codes_of_share(findings: Findings, row: dict) -> list[Code]:
    """The same where the number of cells stands beside it under the class's own code."""
    known, of_cell = codes_of_class(findings, row)[:-1], cell_code(row["class"])
    return [*known, local(f"share.{of_cell.code}", f"{of_cell.display}, share of the counted cells")]


def codes_of_ratio(findings: Findings, ratio: dict) -> list[Code]:
    """One ratio; LOINC for all blasts as a share of the leukocytes in blood."""
    is_known = ratio["name"] == "blasts" and ratio.get("of") == LEUKOCYTES
    known = loinc_of_blasts(findings.taxonomy) if is_known else None
    return [*([Code(LOINC, *known)] if known else []), ratio_code(ratio["name"])]


def codes_of_nucleated_red() -> list[Code]:
    """Nucleated red cells per 100 leukocytes."""
    return [Code(LOINC, *NUCLEATED_RED), NUCLEATED_RED_PER_100]


def local_codes() -> Iterator[Code]:
    """Every code of ours but the flags', whose words are a patient's, and those of a user's own classes."""
    yield from _FIXED
    yield from (ratio_code(name) for name in (*_RATIOS, "cblc"))
    yield from (cell_code(name) for name in VOCABULARY)


def _word(name: str) -> str:
    """A name without white space or control characters, which no code may hold."""
    return "".join(c if c.isprintable() and not c.isspace() else "_" for c in name) or "_"

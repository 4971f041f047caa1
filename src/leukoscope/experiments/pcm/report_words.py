"""Words and small values that several of the study's tables share."""

from leukoscope.experiments.intervals import Estimate
from leukoscope.experiments.pcm.data import DATA, StudySet
from leukoscope.experiments.rows import Row
from leukoscope.report.words import class_words

ROLE_WORDS = {"data": "internal", "external": "external", "target": "target"}


def set_words(study_set: StudySet) -> str:
    """ "pbc (internal)"."""
    return f"{study_set.name} ({'internal test' if study_set.role == DATA else ROLE_WORDS[study_set.role]})"


def part_words(part: dict) -> str:
    return f"{part['set']} ({'internal test' if part['role'] == DATA else ROLE_WORDS[part['role']]})"


def why(row: Row) -> str:
    return f"{row.status}: {row.reason}" if row.reason else row.status


def estimate_in(values: dict) -> Estimate:
    return Estimate.from_dict(values)


def counted_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{class_words(name)} {n:,}" for name, n in sorted(counts.items()))

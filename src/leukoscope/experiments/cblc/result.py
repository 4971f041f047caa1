"""What a marrow study was asked and has found: what its tables, figures and page are made from."""

from dataclasses import dataclass
from pathlib import Path

from leukoscope.experiments.cblc.cohort import Cohort
from leukoscope.experiments.cblc.predictions import Predictions
from leukoscope.experiments.cblc.segment import FieldCells
from leukoscope.experiments.cblc.settings import StudyFiles
from leukoscope.experiments.rows import Row

ABLATED = "ablation"
DETECTOR = "one-stage"


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What the command line says; register_only: stop before a number of the validation centres is made."""

    data: Path
    develop: tuple[str, ...]
    validate: tuple[str, ...]
    config: Path
    out: Path
    diagnosis: Path | None = None
    resume: bool = False
    register_only: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """Everything that tables, figures and the page are made from."""

    options: StudyOptions
    files: StudyFiles
    cohort: Cohort
    cells: list[FieldCells]
    predictions: Predictions
    ablation: dict[str, dict]
    rows: dict[str, Row]
    seconds: dict[str, float]
    about: dict[str, str]
    registration: str
    not_as_registered: list[str]

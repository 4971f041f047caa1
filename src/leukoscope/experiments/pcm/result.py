"""What a PCM study has found so far: what its tables, figures and page are made from."""

from dataclasses import dataclass
from pathlib import Path

from leukoscope.experiments.pcm.config import RowPlan, StudyConfig
from leukoscope.experiments.pcm.data import StudyData
from leukoscope.experiments.rows import Row


@dataclass(frozen=True, slots=True, eq=False)
class StudyRun:
    """A study as it stands: its settings, its data, every row in order, and where its page is."""

    config: StudyConfig
    study: StudyData
    rows: dict[str, Row]
    out: Path
    provenance: dict[str, str]
    registration: str = ""
    not_as_registered: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        return self.out / "study.html"

    def done(self, kind: str, **wanted: str) -> list[tuple[RowPlan, Row]]:
        """Plans and rows of one kind that are done, in the order of study.toml."""
        plans = [p for p in self.config.rows if p.kind == kind]
        plans = [p for p in plans if all(getattr(p, k) == v for k, v in wanted.items())]
        return [(p, self.rows[p.name]) for p in plans if self.rows[p.name].is_done]

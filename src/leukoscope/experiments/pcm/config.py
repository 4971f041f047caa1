"""What a PCM study is: one TOML file, `configs/NAME/study.toml`; an unknown key is an error."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.train.config import build_config, read_toml

KINDS = ("detector", "classifier", "two-stage", "adaptation")
CLASSES = ("all", "wbc")
# What must be importable for a row to run, by the extra that brings it.
EXTRAS = {"train": ("torch",), "study": ("torch", "transformers"), "yolo": ("torch", "ultralytics")}


@dataclass(frozen=True, slots=True)
class RowPlan:
    """One system of the study.

    name        of its folder and of --only
    kind        "detector", "classifier", "two-stage" or "adaptation"
    label       what the tables call it
    config      its training configuration, beside study.toml (detectors and classifiers)
    classes     of a detector: "all" of the taxonomy (Table 4) or "wbc", WBC and Other (Table 5)
    detector, classifier   names of the rows that a two-stage row puts together
    source      the classifier row that an adaptation starts from
    methods     of an adaptation: "lp-ft" is the paper's; others are heads on frozen features (`train.adapt`)
    extra       the optional part of Leukoscope that it needs
    """

    name: str
    kind: str
    label: str
    config: str = ""
    classes: str = "all"
    detector: str = ""
    classifier: str = ""
    source: str = ""
    methods: tuple = ("lp-ft",)
    extra: str = "study"

    @property
    def builds_on(self) -> tuple[str, ...]:
        """Rows that must be done before this one."""
        return tuple(n for n in (self.detector, self.classifier, self.source) if n)


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """The study's settings; defaults are the paper's (sections 2.2 and 2.3) where it states them.

    taxonomy      the classes of the study (`taxonomy.TAXONOMIES` or a TOML file); artefacts are not classified
    test_share    of the fields, where the set states no split (the paper's 85:15)
    val_share     of the training fields, where the set states no validation split (80:20)
    drop_leaks    leave out of training what the audit finds on two sides
    audit         False skips looking for near duplicates; the first page then says so
    target_share  of the target's cells that are labelled for adaptation (section 2.3.3)
    target_draws  how often those cells are drawn anew
    target_weight  share of each batch that is drawn from them; 0: every cell of both sets once an epoch
    resamples     draws of the bootstrap over draws of labelled cells (adaptation's intervals)
    handed        shares of cells handed to a human, in the table of selective accuracy
    level         of the conformal sets
    """

    title: str
    rows: tuple[RowPlan, ...]
    folder: Path
    taxonomy: str = "pcm-9"
    seed: int = 0
    test_share: float = 0.15
    val_share: float = 0.2
    drop_leaks: bool = False
    audit: bool = True
    target_share: float = 0.1
    target_draws: int = 3
    target_weight: float = 0.5
    resamples: int = 1000
    handed: tuple = (0.0, 0.05, 0.1, 0.2, 0.3)
    level: float = 0.9

    def row(self, name: str) -> RowPlan:
        """One row; ConfigError that lists the known ones."""
        for plan in self.rows:
            if plan.name == name:
                return plan
        raise ConfigError(f"no row {name!r} in this study; its rows: {', '.join(p.name for p in self.rows)}")

    def settings(self) -> dict:
        """What every row's result depends on: plain types, without words and rows."""
        left_out = ("title", "rows", "folder", "resamples", "handed")
        return {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in left_out}


def read_study(path: str | Path) -> StudyConfig:
    """Read `study.toml`, or that file of a folder; ConfigError for anything that does not fit."""
    path = Path(path)
    path = path / "study.toml" if path.is_dir() else path
    values = read_toml(path)
    tables = values.pop("row", [])
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"{path}: a study needs [[row]] tables, one a system")
    rows = tuple(build_config(RowPlan, t, f"{path}: row {t.get('name', number)}") for number, t in enumerate(tables, 1))
    for reserved in ("rows", "folder"):
        if reserved in values:
            raise ConfigError(f"{path}: unknown key {reserved}")
    config = build_config(StudyConfig, values | {"rows": list(rows), "folder": path.parent}, path)
    config = replace(config, rows=rows)
    _check(config, path)
    return config


def _check(config: StudyConfig, path: Path) -> None:
    names = [r.name for r in config.rows]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"{path}: {', '.join(twice)} names two rows: every row needs a name of its own")
    for share in ("test_share", "val_share", "target_share", "level"):
        if not 0 < getattr(config, share) < 1:
            raise ConfigError(f"{path}: {share} must lie between 0 and 1, got {getattr(config, share)}")
    if config.resamples < 1 or config.target_draws < 1:
        raise ConfigError(f"{path}: resamples and target_draws must be 1 or more")
    for row in config.rows:
        _check_row(config, row, f"{path}: row {row.name!r}")


def _check_row(config: StudyConfig, row: RowPlan, where: str) -> None:
    if not row.name or any(c in row.name for c in "/\\ ") or row.name.startswith("."):
        raise ConfigError(f"{where}: a row's name is a folder's: letters, digits and hyphens")
    for what, value, allowed in (
        ("kind", row.kind, KINDS),
        ("classes", row.classes, CLASSES),
        ("extra", row.extra, tuple(EXTRAS)),
    ):
        if value not in allowed:
            raise ConfigError(f"{where}: {what} must be one of {', '.join(allowed)}, got {value!r}")
    if row.kind in ("detector", "classifier") and not os.path.isfile(config.folder / row.config):
        raise ConfigError(f"{where}: no training configuration {config.folder / row.config}")
    needed = {"two-stage": {"detector": "detector", "classifier": "classifier"}, "adaptation": {"source": "classifier"}}
    for key, kind in needed.get(row.kind, {}).items():
        name = getattr(row, key)
        if not name or name not in [r.name for r in config.rows] or config.row(name).kind != kind:
            raise ConfigError(f"{where}: {key} must name a row of kind {kind}, got {name!r}")
    if row.kind == "two-stage" and config.row(row.detector).classes != "wbc":
        raise ConfigError(f'{where}: its detector needs classes = "wbc" (section 2.3.2), and {row.detector!r} has not')

"""The sets of a study: read, split, audited, mapped to the study's classes, and what varies in each."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.detection import WBC_OTHER
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.dataset.splitting import split_dataset
from leukoscope.errors import ConfigError, DataError, InputError
from leukoscope.experiments.intervals import FieldGroups, group_fields
from leukoscope.experiments.pcm.audits import Finding, audit_sets, fields_to_drop, without_fields
from leukoscope.experiments.pcm.config import StudyConfig
from leukoscope.experiments.pcm.labels import LabelMap, Mapped, map_dataset, map_labels
from leukoscope.files import write_json
from leukoscope.progress import StageProgress, no_stages
from leukoscope.taxonomy import Taxonomy, read_taxonomy
from leukoscope.train.crops.data import taxonomy_without

DATA, EXTERNAL, TARGET = "data", "external", "target"
_WHOLE_FRAME = 0.6  # a set whose boxes take this share of their pictures (median) is one of single cells


@dataclass(frozen=True, slots=True, eq=False)
class StudySet:
    """One set of the study.

    role      "data", "external" or "target"; source: the set as read, with its splits
    all, wbc  in the study's classes, and as WBC and Other
    groups    what intervals leave out in turn
    mapping   its cells' classes against the classes that crops are called
    is_single_cells   each picture is a cropped cell: nothing to locate
    """

    role: str
    source: Dataset
    all: Mapped
    wbc: Mapped
    groups: FieldGroups
    mapping: LabelMap
    is_single_cells: bool

    @property
    def name(self) -> str:
        return self.source.name

    def mapped(self, classes: str) -> Mapped:
        """The set as a detector row wants it: "all" or "wbc"."""
        return self.wbc if classes == "wbc" else self.all


@dataclass(frozen=True, slots=True, eq=False)
class StudyData:
    """All sets, the classes, and what stands on the first page.

    taxonomy  the study's classes; cells: those that crops are called (artefacts excluded, section 2.2)
    findings  of the audits, after dropping where that was asked for; before: what was found, where leaks were dropped
    dropped   {file of the data: why it left training}
    split_by  how the data's splits came about, in words
    """

    taxonomy: Taxonomy
    cells: Taxonomy
    sets: tuple[StudySet, ...]
    findings: tuple[Finding, ...]
    dropped: dict[str, str]
    split_by: str

    @property
    def data(self) -> StudySet:
        return self.sets[0]

    def of_role(self, role: str) -> list[StudySet]:
        """The sets of one role, in the order given."""
        return [s for s in self.sets if s.role == role]

    def digests(self) -> dict[str, str]:
        """What every row depends on: each set's name and the digest of its annotations, as used."""
        return {f"{s.role} {s.name}": s.source.sha256() for s in self.sets}

    @property
    def leaks(self) -> list[str]:
        """What still leaks into training, a line each; splits of a set that is used whole have no two sides."""
        return [line for f in self.findings if self.data.name in f.sets for line in f.problems()]


@dataclass(frozen=True, slots=True)
class Folders:
    """The data set folders of a study: what is trained and tested on, sets tested whole, another laboratory's set."""

    data: str | Path
    external: tuple[str | Path, ...] = ()
    target: str | Path | None = None

    def all(self) -> list[str | Path]:
        """Data, external sets, target."""
        return [self.data, *self.external, *([self.target] if self.target else [])]


def open_study(
    config: StudyConfig, given: Folders, out: str | Path, *, progress: StageProgress = no_stages
) -> StudyData:
    """Read the sets, split the data where it states no split, audit, drop leaks if asked for, map the classes.

    The audit is kept in OUT/audit.json and taken from there as long as the sets stay the same.
    """
    folders = given.all()
    resolved = [Path(f).resolve() for f in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError("--data, --external and --target name one set twice: a set can't be its own outside")
    taxonomy = read_study_taxonomy(config)
    sets = [read_dataset(f) for f in folders]
    names = [s.name for s in sets]
    if len(set(names)) < len(names):
        sets = [replace(s, name=f"{s.name} ({Path(f).name})") for s, f in zip(sets, folders, strict=True)]
    clusters, findings, dropped, split_by, sets[0] = _audited(config, sets, Path(out), progress)
    cells = taxonomy_without(taxonomy, taxonomy.artefacts)
    roles = [DATA, *[EXTERNAL] * len(given.external), *[TARGET] * bool(given.target)]
    made = tuple(
        _study_set(role, dataset, taxonomy, cells, clusters[number])
        for number, (role, dataset) in enumerate(zip(roles, sets, strict=True))
    )
    if not made[0].mapping.labels:
        raise DataError(
            f"data set {made[0].name!r} has no class of taxonomy {taxonomy.name!r} (it has "
            f"{', '.join(sorted(made[0].mapping.unmapped)) or 'none'}): set `taxonomy` in study.toml"
        )
    return StudyData(taxonomy, cells, made, tuple(findings), dropped, split_by)


def read_study_taxonomy(config: StudyConfig) -> Taxonomy:
    """The study's taxonomy: a shipped name, or a TOML file beside study.toml."""
    beside = config.folder / config.taxonomy
    return read_taxonomy(beside if os.path.isfile(beside) else config.taxonomy)


def _study_set(
    role: str, dataset: Dataset, taxonomy: Taxonomy, cells: Taxonomy, clusters: Sequence[Sequence[int]]
) -> StudySet:
    in_study = map_dataset(dataset, taxonomy)
    artefacts = set(taxonomy.artefacts)
    # Artefacts are no cells to be called, whatever they are called in their source.
    stated = [
        before.class_name
        for f in dataset.fields
        for before in f.cells
        if in_study.read_as.get(str(before.class_name), before.class_name) not in artefacts
    ]
    return StudySet(
        role,
        dataset,
        in_study,
        map_dataset(dataset, WBC_OTHER),
        group_fields(dataset, clusters),
        map_labels(cells.names, stated),
        is_single_cells(dataset),
    )


def is_single_cells(dataset: Dataset) -> bool:
    """Whether every picture shows one annotated cell that fills most of it (an annotated crop, nothing to locate)."""
    if not dataset.fields or any(len(f.cells) != 1 for f in dataset.fields):
        return False
    shares = []
    for field in dataset.fields:
        x0, y0, x1, y1 = field.cells[0].box
        shares.append((x1 - x0) * (y1 - y0) / (field.width * field.height))
    return float(np.median(shares)) >= _WHOLE_FRAME


def with_splits(config: StudyConfig, dataset: Dataset, clusters: Sequence[Sequence[int]]) -> tuple[Dataset, str]:
    """The data with train, val and test, and how that came about, in words.

    As the set states them; where it states none 85:15, and where it has no validation split 80:20 of its training
    fields, by patient where all state one and else by cluster of near duplicates. DataError where a set states train
    but no test: what is tested is then nobody's guess.
    """
    stated = Counter(f.split for f in dataset.fields)
    by = "patient" if all(f.key.patient_id for f in dataset.fields) else "cluster"
    words = "patient" if by == "patient" else "near-duplicate cluster (no patients are stated)"
    if set(stated) == {None}:
        options = {"by": by, "test": config.test_share, "val": config.val_share, "seed": config.seed}
        made, _ = split_dataset(dataset, clusters=clusters, **options)
        test, val = 100 * config.test_share, 100 * config.val_share
        return made, f"made here by {words}: {test:.0f} % test, {val:.0f} % of the rest validation, seed {config.seed}"
    if not stated["test"] or not stated["train"]:
        have = ", ".join(f"{s or 'no split'} {n}" for s, n in stated.items())
        raise DataError(
            f"data set {dataset.name!r} states splits without train or test ({have}): make one with `leukoscope "
            f"dataset split`, or remove the splits"
        )
    if stated["val"]:
        return dataset, "as the set states it"
    rows = [i for i, f in enumerate(dataset.fields) if f.split == "train"]
    place = {row: i for i, row in enumerate(rows)}
    within = [[place[r] for r in c if r in place] for c in clusters]
    part = replace(dataset, fields=tuple(dataset.fields[r] for r in rows))
    options = {"by": by, "test": 0.0, "val": config.val_share, "seed": config.seed}
    cut, _ = split_dataset(part, clusters=[c for c in within if c], **options)
    fields = list(dataset.fields)
    for row, field in zip(rows, cut.fields, strict=True):
        fields[row] = field
    share = f"{100 * config.val_share:.0f} % of the training photographs"
    words = f"test as the set states it; validation made here: {share} by {words}"
    return replace(dataset, fields=tuple(fields)), words


def _audited(config: StudyConfig, sets: list[Dataset], out: Path, progress: StageProgress) -> tuple:
    """(clusters of each set, findings, dropped files, how the split came about, the data as used)."""
    if not config.audit:
        made, words = with_splits(config, sets[0], ())
        return [()] * len(sets), (), {}, words, made
    key = [config.settings(), [s.sha256() for s in sets]]
    kept = _read_kept(out / "audit.json", key)
    if kept is None:
        kept = {"key": key} | _run_audits(config, sets, progress)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "audit.json", kept)
    split_of = kept["splits"]
    made = replace(sets[0], fields=tuple(replace(f, split=split_of[f.file]) for f in sets[0].fields))
    made = without_fields(made, list(kept["dropped"]))
    findings = [Finding.from_dict(f) for f in kept["findings"]]
    clusters = [kept["clusters"], *(f.clusters for f in findings[1:] if len(f.sets) == 1)]
    if kept["dropped"]:  # rows moved: clusters are told by file
        place = {f.file: i for i, f in enumerate(made.fields)}
        moved = [[place[sets[0].fields[r].file] for r in c if sets[0].fields[r].file in place] for c in clusters[0]]
        clusters[0] = [c for c in moved if len(c) > 1]
    return clusters, findings, kept["dropped"], kept["split_by"], made


def _run_audits(config: StudyConfig, sets: list[Dataset], progress: StageProgress) -> dict:
    from leukoscope.dataset.audit import find_duplicates

    data, others = sets[0], sets[1:]
    clusters: Sequence[Sequence[int]] = ()
    needs_clusters = not all(f.key.patient_id for f in data.fields)
    if needs_clusters and not any(f.split == "val" for f in data.fields):
        clusters = find_duplicates([data.path(f) for f in data.fields], progress=progress).clusters
    made, words = with_splits(config, data, clusters)
    findings, audits = audit_sets(made, others, progress=progress)
    dropped: dict[str, str] = {}
    if config.drop_leaks and any(f.problems() for f in findings):
        dropped = fields_to_drop(audits)
        made_clean = without_fields(made, list(dropped))
        if not all(any(f.split == s for f in made_clean.fields) for s in ("train", "test")):
            raise ConfigError("dropping the leaks leaves no training or no test photograph: split the set anew")
        findings, _ = audit_sets(made_clean, others, progress=progress)
    return {
        "findings": [f.to_dict() for f in findings],
        "dropped": dropped,
        "splits": {f.file: f.split for f in made.fields},
        "split_by": words,
        "clusters": [list(c) for c in audits[0].clusters],
    }


def _read_kept(path: Path, key: list) -> dict | None:
    """What an earlier audit of the same sets found, or None."""
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return kept if kept.get("key") == json.loads(json.dumps(key)) else None

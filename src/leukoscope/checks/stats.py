"""A set in numbers: the PCM paper's Tables 2 and 3 and Figure 6, sizes, stain and focus by centre, class by patient."""

import random
import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.errors import ImageError
from leukoscope.files import write_json
from leukoscope.images import check_quality, read_image
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import VOCABULARY

STATS_VERSION = 1
SPLIT_NAMES = ("train", "val", "test", "none")
QUALITY_PER_CENTER = 300  # photographs of a centre that are opened
UNSTATED = "(not stated)"
UNTYPED = "(no type)"
_QUALITY_MEASURES = ("focus", "exposure", "stain", "content")


@dataclass(frozen=True, slots=True)
class Spread:
    """5th percentile, median and 95th percentile of n values, rounded to 4 digits."""

    n: int
    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class CenterQuality:
    """Of one centre's opened photographs: the measures of `images.check_quality`, and how many have which problem."""

    n_fields: int
    n_opened: int
    n_unreadable: int
    measures: dict[str, Spread]
    problems: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stats:
    """The numbers of one set; plain types inside, so that `to_dict` is JSON.

    images_by_split     Table 2: split -> photographs; splits without any are absent
    cells_by_class      Table 3 and Figure 6: class -> split -> cells, classes in the vocabulary's order
    cells_per_image     annotated cells a photograph
    image_sizes         "1920 x 1080" -> photographs, most frequent first
    cell_px, cell_um    class -> longer side of the box in px, in micrometres (fields of known scale only)
    scales              um_per_px, or "(not stated)" -> photographs
    cells_by_patient    patient -> class -> cells; the patient that nobody stated is "(not stated)"
    splits_by_patient   patient -> the splits that it is in, where it is known: more than one leaks
    quality             centre -> CenterQuality, of at most QUALITY_PER_CENTER photographs; empty if not asked for
    """

    name: str
    licence: str
    citation: str
    source_format: str
    fields_sha256: str
    n_fields: int
    n_cells: int
    images_by_split: dict[str, int]
    cells_by_class: dict[str, dict[str, int]]
    cells_per_image: Spread
    n_images_without_cells: int
    n_outlines: int
    image_sizes: dict[str, int]
    cell_px: dict[str, Spread]
    cell_um: dict[str, Spread]
    scales: dict[str, int]
    specimens: dict[str, int]
    images_by_center: dict[str, int]
    cells_by_patient: dict[str, dict[str, int]]
    splits_by_patient: dict[str, list[str]]
    quality: dict[str, CenterQuality] = field(default_factory=dict)
    stats_version: int = STATS_VERSION

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)

    def splits(self) -> list[str]:
        """The splits that hold photographs, in order; "none" for those of no split."""
        return [s for s in SPLIT_NAMES if s in self.images_by_split]


def dataset_stats(
    dataset: str | Path | Dataset,
    *,
    quality_per_center: int = QUALITY_PER_CENTER,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Stats:
    """Count a set. Only stain and focus need the pictures: at most `quality_per_center` of each centre are opened,
    drawn by `seed`; 0 opens none. `progress` is called with (done, total) after each. DataError for a folder that is no
    data set.
    """
    dataset = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    fields = dataset.fields
    splits = Counter(f.split or "none" for f in fields)
    by_class: dict[str, Counter[str]] = defaultdict(Counter)
    by_patient: dict[str, Counter[str]] = defaultdict(Counter)
    of_patient: dict[str, set[str]] = defaultdict(set)
    for f in fields:
        patient = f.key.patient_id or UNSTATED
        if f.key.patient_id:
            of_patient[patient].add(f.split or "none")
        for cell in f.cells:
            by_class[cell.class_name or UNTYPED][f.split or "none"] += 1
            by_patient[patient][cell.class_name or UNTYPED] += 1
    sizes = Counter(f"{f.width} x {f.height}" for f in fields)
    scales = Counter(UNSTATED if f.um_per_px is None else f"{f.um_per_px:g}" for f in fields)
    return Stats(
        name=dataset.name,
        licence=dataset.licence,
        citation=dataset.citation,
        source_format=dataset.source_format,
        fields_sha256=dataset.sha256(),
        n_fields=len(fields),
        n_cells=sum(len(f.cells) for f in fields),
        images_by_split={s: splits[s] for s in SPLIT_NAMES if splits[s]},
        cells_by_class={n: dict(by_class[n]) for n in sorted(by_class, key=_class_order)},
        cells_per_image=spread([len(f.cells) for f in fields]),
        n_images_without_cells=sum(not f.cells for f in fields),
        n_outlines=sum(c.contour is not None for f in fields for c in f.cells),
        image_sizes=dict(sizes.most_common()),
        cell_px=_cell_sizes(fields, in_um=False),
        cell_um=_cell_sizes(fields, in_um=True),
        scales=dict(scales.most_common()),
        specimens=dict(Counter(f.key.specimen for f in fields)),
        images_by_center=dict(sorted(Counter(f.key.center or UNSTATED for f in fields).items())),
        cells_by_patient={p: dict(by_patient[p]) for p in sorted(by_patient, key=_by_number)},
        splits_by_patient={
            p: [s for s in SPLIT_NAMES if s in of_patient[p]] for p in sorted(of_patient, key=_by_number)
        },
        quality=_quality(dataset, quality_per_center, seed, progress) if quality_per_center else {},
    )


def write_stats(stats: Stats, path: str | Path) -> None:
    """Write the numbers as JSON; replaced in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, stats.to_dict())


def spread(values: list[float]) -> Spread:
    """The spread of some numbers; zeros for none."""
    if not len(values):
        return Spread(0, 0.0, 0.0, 0.0)
    low, median, high = (round(float(v), 4) for v in np.percentile(values, (5, 50, 95)))
    return Spread(len(values), low, median, high)


def table_columns(stats: Stats) -> list[tuple[str, tuple[str, ...]]]:
    """The columns of Tables 2 and 3 as (title, splits summed): the paper's Train/Val, Test and Overall, with train and
    val apart where the set has both, and the photographs of no split where there are any."""
    have = stats.splits()
    columns: list[tuple[str, tuple[str, ...]]] = []
    if "train" in have and "val" in have:
        columns += [("Train", ("train",)), ("Val", ("val",))]
    if "train" in have or "val" in have:
        columns.append(("Train/Val", ("train", "val")))
    if "test" in have:
        columns.append(("Test", ("test",)))
    if "none" in have:
        columns.append(("No split", ("none",)))
    return [*columns, ("Overall", SPLIT_NAMES)]


def _by_number(name: str) -> list[tuple[int, str]]:
    """A sorting key by which "P2" stands before "P10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _class_order(name: str) -> tuple[int, str]:
    known = list(VOCABULARY)
    return (known.index(name) if name in VOCABULARY else len(known), name)


def _cell_sizes(fields: tuple[TruthField, ...], *, in_um: bool) -> dict[str, Spread]:
    """Class -> spread of the boxes' longer sides; in micrometres, of fields whose scale is known."""
    sizes: dict[str, list[float]] = defaultdict(list)
    for f in fields:
        unit = f.um_per_px if in_um else 1.0
        if unit is None:
            continue
        for cell in f.cells:
            x0, y0, x1, y1 = cell.box
            sizes[cell.class_name or UNTYPED].append(unit * max(x1 - x0, y1 - y0))
    return {name: spread(sizes[name]) for name in sorted(sizes, key=_class_order)}


def _quality(dataset: Dataset, per_center: int, seed: int, progress: Progress) -> dict[str, CenterQuality]:
    by_center: dict[str, list[TruthField]] = defaultdict(list)
    for f in dataset.fields:
        by_center[f.key.center or UNSTATED].append(f)
    drawn = {}
    for center in sorted(by_center):
        of_center = by_center[center]
        few = len(of_center) <= per_center
        drawn[center] = of_center if few else random.Random(seed).sample(of_center, per_center)
    total, done = sum(len(d) for d in drawn.values()), 0
    quality_of = {}
    for center, chosen in drawn.items():
        values: dict[str, list[float]] = defaultdict(list)
        problems: Counter[str] = Counter()
        unreadable = 0
        for f in chosen:
            try:
                quality = check_quality(read_image(dataset.path(f)))
            except ImageError:
                unreadable += 1
            else:
                for measure in _QUALITY_MEASURES:
                    value = getattr(quality, measure)
                    if value is not None:
                        values[measure].append(value)
                problems.update(quality.problems)
            done += 1
            progress(done, total)
        quality_of[center] = CenterQuality(
            n_fields=len(by_center[center]),
            n_opened=len(chosen),
            n_unreadable=unreadable,
            measures={m: spread(values[m]) for m in _QUALITY_MEASURES if values[m]},
            problems=dict(problems.most_common()),
        )
    return quality_of


def stats_lines(stats: Stats) -> list[str]:
    """Tables 2 and 3 and the rest in short, as lines of plain text."""
    columns = table_columns(stats)
    lines = [f"{stats.name}: {stats.n_fields:,} photographs, {stats.n_cells:,} annotated cells"]
    counts = [(t, sum(stats.images_by_split.get(s, 0) for s in splits)) for t, splits in columns]
    lines.append("photographs: " + ", ".join(f"{title} {n:,}" for title, n in counts))
    wide = max((len(n) for n in stats.cells_by_class), default=5)
    lines.append(f"{'cells':{wide}}  " + "".join(f"{title:>11}" for title, _ in columns))
    for name, of_split in stats.cells_by_class.items():
        numbers = (sum(of_split.get(s, 0) for s in splits) for _, splits in columns)
        lines.append(f"{name:{wide}}  " + "".join(f"{n:>11,}" for n in numbers))
    both = [p for p, splits in stats.splits_by_patient.items() if len(set(splits) - {"none"}) > 1]
    known = len(stats.splits_by_patient)
    lines.append(f"patients stated: {known}" + (f"; in more than one split: {', '.join(both[:5])}" if both else ""))
    for center, q in stats.quality.items():
        measures = ", ".join(f"{m} {s.median:.2f}" for m, s in q.measures.items() if m in ("focus", "stain"))
        could_not = {"could not be read": q.n_unreadable} if q.n_unreadable else {}
        noted = ", ".join(f"{n} {name}" for name, n in {**could_not, **q.problems}.items()) or "none to note"
        lines.append(f"centre {center}: {q.n_opened} of {q.n_fields} opened: median {measures}; {noted}")
    return lines

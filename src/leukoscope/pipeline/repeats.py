"""The same seen twice within a patient: identical files, copies, planes of focus, and fields that overlap.

What is proven is counted once: a field that shows what another shows has `repeats`, and none of its cells counts; a
cell of two overlapping fields has `same_as` in one of them, and counts in the other. docs/decisions/0026 has the rule.
"""

import json
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from leukoscope.cores import usable_cores
from leukoscope.dataset.audit import Pair, compare_thumbnails, connected, find_overlaps
from leukoscope.dataset.audit.thumbnails import Thumbnails, shrink
from leukoscope.dataset.audit.turns import NAMES
from leukoscope.entries import FieldEntry, FlagEntry, Repeat
from leukoscope.pipeline.looks import read_look
from leukoscope.pipeline.ownership import Borders

_WHOLE = 0.06  # a copy's window may differ by this share of a side: more is another cut of the smear, an overlap
_NEAR = 0.5  # two boxes are one cell when their middles are nearer than this share of the smaller one's side
_COVERED = 0.7
_MUCH_LARGER = 1.3  # times the area
_DIGITS = 4
_DIGEST_BYTES = 16  # of a SHA-256: two files in 10^9 that share them by chance are not expected
MOST_NAMED = 20  # patients of whom one file is


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is compared of one field: its place in the record, size px, look (looks.py), boxes (N, 4) px, focus."""

    place: int
    file: str
    sha256: str
    size: tuple[int, int]
    look: str
    boxes: np.ndarray
    focus: float


class _Cell(NamedTuple):
    """A cell of the record: place of its field, its number there, px² of its box."""

    place: int
    cell: int
    area: float


@dataclass(slots=True)
class Repeats:
    """What the record adds, by the place of a field: to its entry, and to its cells by their number.

    also_of  the patients whose file it is, one list for all places of a file
    """

    fields: dict[int, dict] = field(default_factory=dict)
    cells: dict[int, dict[int, dict]] = field(default_factory=dict)
    also_of: dict[int, list[str]] = field(default_factory=dict)
    _texts: dict[int, str] = field(default_factory=dict)

    def pack(self) -> None:
        """Keep what was found so far as text: of very many photographs it takes a quarter of the memory."""
        for place in {*self.fields, *self.cells}:
            found = [self.fields.get(place, {}), list(self.cells.get(place, {}).items())]
            self._texts[place] = json.dumps(found, separators=(",", ":"))
        self.fields.clear()
        self.cells.clear()

    def added_to(self, entries: Iterable[FieldEntry]) -> Iterator[FieldEntry]:
        """The entries of a record, in order, with what was found."""
        for place, entry in enumerate(entries):
            of_field, of_cells = json.loads(self._texts.get(place, "[{},[]]"))
            same = dict(of_cells) | self.cells.get(place, {})
            if same:
                cells = [c | {"same_as": same[n]} if n in same else c for n, c in enumerate(entry["cells"])]
                entry = entry | {"cells": cells}
            shared = {"also_of": self.also_of[place]} if place in self.also_of else {}
            yield entry | of_field | shared | self.fields.get(place, {})


def repeat_flags(repeated: Counter) -> list[FlagEntry]:
    """A patient's flags about what was seen twice: how many "fields" and "cells" are counted once, how many fields
    overlap "perhaps", and how many are "shared" with another patient."""
    texts = {
        "fields": (
            "repeated_fields",
            "{n} of the photographs show what another shows: their cells are not counted again",
        ),
        "cells": ("same_cells", "{n} cells are in two overlapping photographs: they are counted once"),
        "perhaps": ("fields_may_overlap", "{n} of the photographs may overlap with another: cells may count twice"),
        "shared": ("shared_photographs", "{n} of the photographs are also another patient's: whose are they?"),
    }
    return [
        {"code": code, "text": text.format(n=repeated[kind]), "healthy": None}
        for kind, (code, text) in texts.items()
        if repeated[kind]
    ]


def find_repeats(
    entries_with_looks: Iterable[tuple[dict, str | None]], n_fields: Mapping[str, int] | None = None
) -> Repeats:
    """Compare the fields of each patient; pictures of different patients are compared by their digests alone.

    n_fields  patient id -> fields: a patient is compared, and forgotten, with the last of them; None: all at the end
    """
    patients: dict[str, list[_Seen]] = defaultdict(list)
    left = Counter(n_fields or {})
    repeats, owners, slides = Repeats(), _Owners(), _Slides()
    for place, (entry, look) in enumerate(entries_with_looks):
        patient_id = entry["patient_id"]
        owners.add(place, entry)
        slides.add(place, entry)
        if look is not None:
            patients[patient_id].append(_seen(place, entry, look))
        left[patient_id] -= 1
        if left[patient_id] == 0:
            _within_patient(patients.pop(patient_id, []), repeats)
            repeats.pack()
    for seen in patients.values():
        _within_patient(seen, repeats)
    owners.tell(repeats)
    slides.tell(repeats)
    return repeats


class _Owners:
    """Whose each file is, by the digest of its bytes: 24 bytes a field, whatever their number."""

    def __init__(self) -> None:
        self._digests, self._places, self._owners = bytearray(), array("i"), array("i")
        self._patients: dict[str, int] = {}

    def add(self, place: int, entry: FieldEntry) -> None:
        """The field at `place`."""
        if entry["sha256"] is not None:
            self._digests += bytes.fromhex(entry["sha256"])[:_DIGEST_BYTES]
            self._places.append(place)
            self._owners.append(self._patients.setdefault(entry["patient_id"], len(self._patients)))

    def tell(self, repeats: Repeats) -> None:
        """Say of each field whose file is another patient's too who they are, MOST_NAMED of them."""
        if len(self._patients) < 2:
            return
        digests = np.frombuffer(bytes(self._digests), np.uint64).reshape(len(self._places), -1)
        owners, names = np.array(self._owners), list(self._patients)
        order = np.lexsort(digests.T)
        ends = np.flatnonzero(np.any(np.diff(digests[order], axis=0), axis=1)) + 1
        for rows in np.split(order, ends):
            if len(rows) > 1 and len(who := np.unique(owners[rows])) > 1:
                also_of = sorted(names[n] for n in who)[:MOST_NAMED]
                repeats.also_of |= dict.fromkeys((self._places[row] for row in rows), also_of)


class _Slides:
    """What regions of slides show twice: a whole slide given twice for a patient, and cells at the borders."""

    def __init__(self) -> None:
        self._first: dict[tuple, tuple[int, str]] = {}
        self._copies: dict[int, tuple[int, str]] = {}
        self._borders: dict[tuple[str, str], Borders] = defaultdict(Borders)

    def add(self, place: int, entry: FieldEntry) -> None:
        """A region's entry; anything else is let be."""
        if "region" not in entry or entry["status"] == "failed":
            return
        same = (entry["patient_id"], entry["sha256"], *entry["region"]["core"])
        first = self._first.setdefault(same, (place, entry["file"]))
        if first[0] != place:
            self._copies[place] = first
        else:
            self._borders[entry["patient_id"], entry["file"]].add(place, entry)

    def tell(self, repeats: Repeats) -> None:
        """Add to what was found."""
        for place, (first, file) in self._copies.items():
            said = {"field": first, "file": file, "how": "same_file", "agreement": 1.0}
            repeats.fields.setdefault(place, {})["repeats"] = said
        for borders in self._borders.values():
            for kept, other in borders.twice():
                same = {"field": kept.place, "cell": kept.cell, "border": True}
                repeats.cells.setdefault(other.place, {})[other.cell] = same


def _seen(place: int, entry: FieldEntry, look: str) -> _Seen:
    boxes = np.array([c["box"] for c in entry["cells"]], np.float64).reshape(-1, 4)
    focus = (entry["quality"] or {}).get("focus") or 0.0
    pages = ",".join(map(str, entry.get("pages", ())))  # the fields of one file are not the same file
    return _Seen(place, entry["file"], entry["sha256"] + pages, (entry["width"], entry["height"]), look, boxes, focus)


def _within_patient(seen: list[_Seen], repeats: Repeats) -> None:
    if len(seen) < 2:
        return
    looks = {s.place: read_look(s.look) for s in seen}
    small = np.stack([shrink(Image.fromarray(looks[s.place])) for s in seen])
    pairs = compare_thumbnails(Thumbnails(small, tuple(s.sha256 for s in seen), {}), workers=usable_cores()).pairs
    whole = [p for p in pairs if p.is_same_file or _is_whole(p)]
    for cluster in connected(whole):
        kept = max(cluster, key=lambda row: (seen[row].size[0] * seen[row].size[1], seen[row].focus, -row))
        for row in cluster:
            if row != kept:
                repeats.fields.setdefault(seen[row].place, {})["repeats"] = _repeat(seen, row, kept, whole)
    left = [s for s in seen if "repeats" not in repeats.fields.get(s.place, {})]
    by_size: dict[tuple, list[_Seen]] = defaultdict(list)
    for one in left:
        by_size[one.size].append(one)
    same: list[tuple[_Cell, _Cell]] = []
    for alike in by_size.values():
        for overlap in find_overlaps([looks[s.place] for s in alike]):
            first, second = alike[overlap.first], alike[overlap.second]
            shift = (overlap.shift[0] * first.size[0], overlap.shift[1] * first.size[1])
            shared = _same_cells(first, second, shift) if overlap.is_proven else []
            same += shared
            said = {
                "field": first.place,
                "file": first.file,
                "shift": [round(v) for v in shift],
                "agreement": round(overlap.agreement, _DIGITS),
                "proven": overlap.is_proven,
                "n_same": len(shared),
            }
            repeats.fields.setdefault(second.place, {}).setdefault("overlaps", []).append(said)
    _count_once(same, repeats)


def _is_whole(pair: Pair) -> bool:
    """Whether both pictures of a pair show the same part of the smear, and not one a part of the other's."""
    return max(abs(a - b) for a, b in zip(pair.window, (0, 0, 1, 1), strict=True)) <= _WHOLE


def _repeat(seen: list[_Seen], row: int, kept: int, pairs: list[Pair]) -> Repeat:
    """What is said of a field that shows what `kept` shows."""
    same = seen[row].sha256 == seen[kept].sha256
    pair = next((p for p in pairs if {p.first, p.second} == {row, kept}), None)  # None: alike by way of a third
    how = "same_file" if same else "copy" if pair is None or not pair.turn else f"copy {NAMES[pair.turn]}"
    agreement = 1.0 if same else None if pair is None else round(pair.agreement, _DIGITS)
    return {"field": seen[kept].place, "file": seen[kept].file, "how": how, "agreement": agreement}


def _same_cells(first: _Seen, second: _Seen, shift: tuple[float, float]) -> list[tuple[_Cell, _Cell]]:
    """The cells that both of two overlapping fields show."""
    if not len(first.boxes):
        return []
    taken, same = set(), []
    middles = (first.boxes[:, :2] + first.boxes[:, 2:]) / 2
    sides = (first.boxes[:, 2:] - first.boxes[:, :2]).max(axis=1)
    for number, box in enumerate(second.boxes + np.tile(shift, 2)):
        gap = np.hypot(*(middles - (box[:2] + box[2:]) / 2).T)
        # A border cuts a box and moves its middle: where one covers most of the smaller one they are one cell as well.
        fits = (gap < _NEAR * np.minimum(sides, (box[2:] - box[:2]).max())) | (_covered(first.boxes, box) > _COVERED)
        near = [int(other) for other in np.argsort(gap) if fits[other] and other not in taken]
        if near:
            taken.add(near[0])
            same.append(
                (_Cell(first.place, near[0], _area(first.boxes[near[0]])), _Cell(second.place, number, _area(box)))
            )
    return same


def _count_once(same: list[tuple[_Cell, _Cell]], repeats: Repeats) -> None:
    """Of the pictures of one cell the largest counts, which no border cuts; of equal ones the first."""
    cells = list(dict.fromkeys(c for pair in same for c in pair))
    number = {(c.place, c.cell): n for n, c in enumerate(cells)}
    links = [Pair(number[a.place, a.cell], number[b.place, b.cell], False, 1.0) for a, b in same]
    for cluster in connected(links):
        # Boxes of one whole cell differ a little from picture to picture: that is no reason to prefer one.
        kept = cells[max(cluster, key=lambda n: (round(math.log(cells[n].area, _MUCH_LARGER)), -n))]
        for n in cluster:
            if cells[n] != kept:
                repeats.cells.setdefault(cells[n].place, {})[cells[n].cell] = {"field": kept.place, "cell": kept.cell}


def _covered(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N,) area in common over the smaller one's area."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    return common / np.maximum(np.minimum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), _area(box)), 1e-9)


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))

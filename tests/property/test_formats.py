"""Import, export, import is the identity, for each format that is written.

Tolerance: none. Every value of the manifest is equal, to its three decimals: YOLO's shares are written with twelve,
which is a millionth of a px on any picture. Not compared: `file` (where the picture stands) and `source_format`.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from data.make_pictures import draw_field
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.formats import writable
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import FieldKey

SIZES = {"a.png": (40, 30), "sub/a.jpg": (33, 47), "train/images/B.png": (64, 64), "val/b.PNG": (17, 90)}
ODD_CLASS = "cell: 'of' \"ours\", # [odd]"
CLASSES = (None, "neutrophil", "myeloblast", "eosinophil", ODD_CLASS)
OURS = Taxonomy("ours", (ODD_CLASS,), (ODD_CLASS,))
# Whatever a person may type, but for control characters, which XML can't hold.
texts = st.text(st.characters(exclude_categories=("C",)) | st.sampled_from("\t\n\r,;\"'<&é "), max_size=8)


def coordinate(limit):
    return st.integers(0, limit * 1000).map(lambda v: v / 1000)


@st.composite
def cells(draw, width, height):
    """One cell: a box with area inside the picture, maybe an outline that fills it or not, a class, attributes."""
    x0, y0 = draw(coordinate(width - 1)), draw(coordinate(height - 1))
    x1 = draw(st.integers(int(x0 * 1000) + 20, width * 1000)) / 1000
    y1 = draw(st.integers(int(y0 * 1000) + 20, height * 1000)) / 1000
    contour = None
    if draw(st.booleans()):
        middle = (draw(coordinate(width)), draw(coordinate(height)))
        contour = draw(
            st.sampled_from((((x0, y0), (x1, y0), (x1, y1), (x0, y1)), ((x0, y0), (x1, y0), (x0, y1)), (
                (x0, y0), (x1, y0), middle, (x0, y1)
            )))
        )  # fmt: skip
    names = texts.filter(lambda t: t not in ("source_code", "exact_box"))
    attributes = draw(st.dictionaries(names, texts, max_size=2))
    name = draw(st.sampled_from(CLASSES))
    return TruthCell((x0, y0, x1, y1), name, draw(texts), contour, tuple(attributes.items()))


def _encloses(cell):
    if cell.contour is None:
        return True
    doubled = sum(
        x * q - p * y for (x, y), (p, q) in zip(cell.contour, (*cell.contour[1:], cell.contour[0]), strict=True)
    )
    return abs(doubled) > 0.01


@st.composite
def fields(draw, file, sha256):
    width, height = SIZES[file]
    found = draw(st.lists(cells(width, height).filter(_encloses), max_size=4))
    # What an import would have dropped as given twice can't be in a manifest.
    unique = {(c.box, c.class_name, c.source_code): c for c in found}
    key = FieldKey(file, draw(texts), draw(texts), draw(texts), draw(st.sampled_from(("blood", "marrow"))))
    scale = draw(st.none() | st.floats(1e-3, 10))
    split = draw(st.sampled_from((None, "train", "val", "test")))
    return TruthField(key, file, sha256, width, height, tuple(unique.values()), scale, split)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """(folder, {file: digest}) of four pictures, two of which differ in case and folder only."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, (file, size) in enumerate(SIZES.items()):
        draw_field(root / file, size, [(10, 10, 5)], seed=seed)
    return root, {file: hashlib.sha256((root / file).read_bytes()).hexdigest() for file in SIZES}


def comparable(dataset):
    """{field id: the field without its place}."""
    return {f.key.field_id: replace(f, file="") for f in dataset.fields}


@pytest.mark.parametrize("format", writable())
@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(data=st.data())
def test_the_round_trip_is_the_identity(format, pictures, data):
    root, digests = pictures
    chosen = tuple(data.draw(fields(file, digests[file])) for file in SIZES)
    name = data.draw(texts.filter(bool))
    dataset = Dataset(name, root, chosen, data.draw(texts.filter(bool)), "who to cite", "test")
    folder = Path(tempfile.mkdtemp())
    try:
        write_dataset(dataset, folder / "set")
        export_dataset(format, folder / "set", folder / "out")
        report = import_dataset(format, folder / "out", folder / "back", taxonomy=OURS)
        first, back = read_dataset(folder / "set"), read_dataset(folder / "back")
        assert comparable(back) == comparable(first)
        assert (back.name, back.licence, back.citation) == (first.name, first.licence, first.citation)
        assert (report.n_objects, report.n_dropped) == (sum(len(f.cells) for f in chosen), 0)
        assert {i.reason for i in report.issues if i.action != "noted"} == set()
    finally:
        shutil.rmtree(folder)

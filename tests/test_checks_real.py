"""Suspects in the real sets, where they are present, by the bundled model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leukoscope.checks.suspects import find_suspects
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset

WITHOUT_BOX = ("JPEGImages/BloodImage_00171.jpg", "JPEGImages/BloodImage_00178.jpg")  # a white cell each, and no box
N_ORDINARY = 20  # enough to tell how often this set boxes cells that the edge cuts


@pytest.fixture(scope="module")
def bccd(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("bccd")
    import_dataset("voc", shared_data / "bccd", out, source="bccd")
    return read_dataset(out)


def test_white_cells_of_bccd_without_a_box_are_found_by_mask_and_locator(bccd):
    ordinary = [f for f in bccd.subset("test").fields if f.file not in WITHOUT_BOX][:N_ORDINARY]
    fields = (*ordinary, *(f for f in bccd.fields if f.file in WITHOUT_BOX))
    found = find_suspects(replace(bccd, fields=fields), masks="masks/BloodImage_Mask_{number}.png")
    by_file = {s.field.file: s for s in found.contradicting() if s.row is None}
    assert set(WITHOUT_BOX) <= set(by_file)
    for file in WITHOUT_BOX:
        assert by_file[file].kind == "mask_without_box"
        shown = by_file[file].detail.split("also a white cell without a box (")[1]
        # The locator alone nearly says so too: of the few cells at an edge here, half have no box.
        assert float(shown[:4]) > 0.4

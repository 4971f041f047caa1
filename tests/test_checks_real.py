"""Suspects in the real sets, where they are present, by the bundled model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leukoscope.checks.suspects import find_suspects
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset

WITHOUT_BOX = ("BloodImage_00171", "BloodImage_00178")  # a whole white cell each, and no box for it
ORDINARY = ("BloodImage_00007", "BloodImage_00011")


@pytest.fixture(scope="module")
def bccd(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("bccd")
    import_dataset("voc", shared_data / "bccd", out, source="bccd")
    return read_dataset(out)


def test_white_cells_of_bccd_without_a_box_head_the_list(bccd):
    fields = tuple(f for f in bccd.fields if any(n in f.file for n in WITHOUT_BOX + ORDINARY))
    found = find_suspects(replace(bccd, fields=fields))
    assert all(s.kind == "no_box" and any(n in s.field.file for n in WITHOUT_BOX) for s in found.rows[:2])
    assert min(s.suspicion for s in found.rows[:2]) > 0.5
    masks = find_suspects(replace(bccd, fields=fields), masks="masks/BloodImage_Mask_{number}.png")
    assert {s.kind for s in masks.rows[:2]} == {"mask_without_box"}

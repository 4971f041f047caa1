"""A damaged file of any kind ends in one line, or gives what is true; 3,000 of them: benchmarks/hardships."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmarks.hardships.damaged_files import judge, nested, swapped, zeros
from benchmarks.hardships.damaged_originals import ORIGINALS

pytest.importorskip("torch")
pytest.importorskip("sqlalchemy")
SLOW = ("record, exported", "record, in the reading room", "records, against one another", "bundle")


@pytest.mark.parametrize("kind", [k for k in ORIGINALS if k not in SLOW])
def test_what_is_no_such_file_is_refused_in_one_line_or_true(kind, tmp_path):
    call = ORIGINALS[kind](tmp_path / "whole")
    assert judge(call.run, shutil.copytree(call.folder, tmp_path / "copy"))[0] == "taken"
    others = [b"[" * 20_000, b"\xff\xfe{\x00", b'{"a": [1, null, {}]}']
    for number, how in enumerate((swapped, swapped, swapped, nested, zeros)):
        file, place = call.files[number % len(call.files)], shutil.copytree(call.folder, tmp_path / str(number))
        data = others[number] if how is swapped else how(np.random.default_rng(number), file.read_bytes(), [])
        (place / file.relative_to(call.folder)).write_bytes(data)
        outcome, why = judge(call.run, place)
        assert outcome in ("refused", "taken"), f"{file.name}, {how.__name__}: {why}"


def test_a_flipped_bit_of_a_stopped_run_is_done_again_and_not_believed(tmp_path):
    call = ORIGINALS["stopped run, resumed"](tmp_path / "whole")
    journal = next(f for f in call.files if f.name == "journal.jsonl")
    data = bytearray(journal.read_bytes())
    at = data.rindex(b'"score":0.') + len(b'"score":0.')
    data[at] ^= 1  # another digit: valid JSON, and not what was found
    place = shutil.copytree(call.folder, tmp_path / "copy")
    (place / journal.relative_to(call.folder)).write_bytes(data)
    assert judge(call.run, place) == ("taken", "")  # the very record of the undisturbed run

"""Files that appear whole or not at all; tables that a spreadsheet opens as they are."""

from __future__ import annotations

import csv

import pytest

from leukoscope.files import plain_text, write_table, write_whole


def test_a_file_takes_the_others_place_once_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with write_whole(path, encoding="utf-8") as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_whole(path, "wb") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "＝"])
def test_no_cell_is_taken_for_a_formula(tmp_path, start):
    with write_table(tmp_path / "t.csv") as table:
        table.writerow(["file", "score"])
        table.writerow([start + "cmd|' /C calc'!A0", -0.5])
    data = (tmp_path / "t.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbffile,score\n")
    with open(tmp_path / "t.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["'" + start + "cmd|' /C calc'!A0", "-0.5"]
    assert plain_text("a" + start) == "a" + start
    assert plain_text("\r=1") == "\\r=1"

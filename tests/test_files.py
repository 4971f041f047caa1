"""Files that appear whole or not at all; tables that a spreadsheet opens as they are."""

from __future__ import annotations

import csv
import json
import os
import re

import numpy as np
import pytest

from leukoscope.files import (
    TableWriter,
    copy_folder,
    guarded,
    plain_text,
    save_arrays,
    unguarded,
    write_bytes,
    write_json,
    write_table,
    write_text,
    write_whole,
)


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


TEXTS = ("", "a", "'", "'a", "=1", "'=1", "''=1", " =1", "-", "-1", "'-1", "-1.5e3", "-1+2", "\n@")


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_guarded_is_found_again(text):
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in tuple("=+-@ \n") or text in ("", "-1", "-1.5e3")


def test_an_exact_table_keeps_line_ends(tmp_path):
    values = ["a\rb", "c\r\nd", "=1", "'=1", " e "]
    with open(tmp_path / "t.csv", "w", encoding="utf-8", newline="") as file:
        TableWriter(file, exact=True).writerow(values)
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.reader(file, strict=True)
    assert [unguarded(v) for v in row] == values and row[2] == "'=1"


def test_there_is_one_writer_of_csv(root):
    """A second one would know nothing of formulas."""
    sources = [p for p in (root / "src").rglob("*.py") if re.search(r"csv\.(writer|DictWriter)", p.read_text("utf-8"))]
    assert [p.name for p in sources] == ["files.py"]


def test_each_kind_of_file_replaces_the_old_one_whole(tmp_path):
    for write, value in ((write_text, "a\nb"), (write_bytes, b"ab"), (write_json, {"ü": [1]})):
        path = tmp_path / write.__name__
        for _ in range(2):  # also where it stands already
            write(path, value)
    assert (tmp_path / "write_text").read_bytes() == b"a\nb" and (tmp_path / "write_bytes").read_bytes() == b"ab"
    assert (tmp_path / "write_json").read_text("utf-8") == '{\n "ü": [\n  1\n ]\n}\n'
    save_arrays(tmp_path / "a.npz", rows=np.arange(3))
    assert np.load(tmp_path / "a.npz")["rows"].tolist() == [0, 1, 2]
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "kept").write_text("kept")
    copy_folder(tmp_path, tmp_path / "to")
    assert {p.name for p in (tmp_path / "to").iterdir()} == {"a.npz", "kept", "write_bytes", "write_json", "write_text"}


def test_half_a_character_is_read_again_as_it_was(tmp_path):
    write_json(tmp_path / "a.json", {"file": "ä\udcff.png"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"file": "ä\udcff.png"}
    write_text(tmp_path / "a.html", "ä\ud800")
    assert (tmp_path / "a.html").read_text("utf-8") == "ä\\ud800"


def test_what_can_not_be_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"n": float("nan")}, allow_nan=False)
    assert (tmp_path / "a.json").read_text() == '{\n "n": 1\n}\n' and len(list(tmp_path.iterdir())) == 1


def test_a_file_is_on_the_disk_before_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, r=real: (done.append(n), r(*a))[1])
    write_text(tmp_path / "a", "a")
    assert done == ["fsync", "replace", "fsync"]
    done.clear()
    write_text(tmp_path / "b", "b", sync=False)
    assert done == ["replace"]

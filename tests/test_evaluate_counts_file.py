"""Tables of counts as spreadsheets write them: what is read, and one line for each wrong one."""

from __future__ import annotations

import pytest
from data.readers_counts import HEADS, ROWS, table, write

from leukoscope.errors import InputError
from leukoscope.evaluate.counts import CountTable, align, pooled
from leukoscope.evaluate.counts_file import read_counts


@pytest.mark.parametrize(
    ("delimiter", "encoding", "first"),
    [(",", "utf-8", ""), (";", "utf-8-sig", ""), ("\t", "utf-16", ""), (";", "cp1252", "sep=;\r\n")],
)
def test_counts_are_read_as_spreadsheets_write_them(tmp_path, delimiter, encoding, first):
    heads = ("Patient ID", "Neutrophils", "Lymphs", "Monos", "Blasts", "Total", "Comment")
    rows = [(*row, 100, "gut für P") for row in ROWS]
    read = read_counts(
        write(tmp_path / "x.csv", rows, heads=heads, delimiter=delimiter, encoding=encoding, first=first)
    )
    assert read.classes == HEADS[1:] and read.patients == ("a", "b", "c", "d")
    assert read.counts.tolist() == [list(row[1:]) for row in ROWS]
    assert any("Total, Comment" in note for note in read.notes)


@pytest.mark.parametrize(
    ("heads", "rows", "said"),
    [
        (HEADS, [("a", 60, 30, 5, -5)], "line 2, blast: a number of cells can't be negative, got -5"),
        (HEADS, [("a", 60.5, 30, 5, 4.5)], "line 2, neutrophil: expected whole cells, got 60.5; percent can't be used"),
        (HEADS, [("a", "60 %", 30, 5, 5)], "expected whole cells, got 60 %"),
        (HEADS, [("a", "many", 30, 5, 5)], "line 2, neutrophil: expected a number of cells, got 'many'"),
        ((*HEADS[:4], "blaast"), ROWS, "column 'blaast' is no class of cells known here; did you mean blast"),
        (("name", *HEADS[1:]), ROWS, "no column patient_id among name, neutrophil"),
        (HEADS, [*ROWS, ("b", 1, 2, 3, 4)], "patient b stands in lines 3 and 6"),
        (HEADS, [("", 1, 2, 3, 4)], "line 2: no patient is named"),
        (HEADS, [("a", 0, 0, 0, 0)], "line 2: patient a has no cell counted"),
        (HEADS, [("a", 1, 2, 3, 4, 5)], "line 2: 6 cells under 5 headings"),
        (HEADS, [], "no row below the headings"),
        (("patient_id", "comment"), [("a", "x")], "no column is a class of cells"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, heads, rows, said):
    with pytest.raises(InputError) as error:
        read_counts(write(tmp_path / "x.csv", rows, heads=heads))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_blank_cells_are_read_as_none_and_said(tmp_path):
    read = read_counts(write(tmp_path / "x.csv", [("a", 60, "", 5, 5)]))
    assert read.counts.tolist() == [[60, 0, 5, 5]] and "1 blank cells were read as 0" in read.notes[0]
    with pytest.raises(InputError, match="no counts at"):
        read_counts(tmp_path / "missing.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\0\0\0")
    with pytest.raises(InputError, match="is no text"):
        read_counts(tmp_path / "picture.csv")


def test_patients_of_one_side_alone_are_refused_or_named():
    one = table("one.csv", [[5, 5, 0, 0]] * 4)
    other = CountTable("other.csv", ("p0", "p1", "p2", "P3"), one.classes, one.counts)
    with pytest.raises(InputError, match=r"one.csv alone has p3; other.csv alone has P3: .* --shared-only"):
        align(one, other, "blood")
    pair = align(one, other, "blood", shared_only=True)
    assert pair.patients == ("p0", "p1", "p2") and "one.csv alone has p3" in pair.notes[-1]
    with pytest.raises(InputError, match="no patient stands in both"):
        align(one, CountTable("x", ("z",), one.classes, one.counts[:1]), "blood")


def test_classes_meet_where_both_can_say_them():
    fine = table(
        "fine",
        [[10, 50, 5, 30, 5]] * 3,
        ("band_neutrophil", "segmented_neutrophil", "myeloblast", "lymphocyte", "smudge_cell"),
    )
    coarse = table("coarse", [[120, 60, 10, 10]] * 3, ("neutrophil", "lymphocyte", "blast", "plasma_cell"))
    pair = align(coarse, fine, "blood")
    assert pair.classes == ("neutrophil", "lymphocyte", "blast")
    assert pair.test[0].tolist() == [60, 30, 5] and pair.n_test[0] == 95  # smudges stand in no denominator
    assert pair.n_reference[0] == 200 and pair.only_reference == ("plasma_cell",) and pair.only_test == ()


def test_red_precursors_stand_beside_the_leukocytes_of_blood_and_in_those_of_marrow():
    one = table("one", [[80, 20, 50]] * 3, ("neutrophil", "blast", "erythroblast"))
    assert align(one, one, "blood").n_test[0] == 100 and align(one, one, "marrow").n_test[0] == 150


def test_two_readers_together_are_their_sum():
    first, second = table("a", [[50, 30, 10, 10]] * 3), table("b", [[40, 40, 20, 0]] * 3, HEADS[1:])
    both = pooled([first, second])
    assert both.counts[0].tolist() == [90, 70, 30, 10] and both.name == "a and b"

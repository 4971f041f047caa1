"""Whose picture is it: folders, loose files and the patients table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leukoscope.errors import ImageError, InputError
from leukoscope.images import read_image
from leukoscope.images.listing import without_reports
from leukoscope.pipeline.sources import find_sources, read_patients_table, sources_sha256


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def table(path: Path, *lines: str, encoding="utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding)
    return path


def owners(sources, root: Path) -> dict[str, str]:
    return {Path(s.file).relative_to(root).as_posix(): s.key.patient_id for s in sources}


def test_a_patient_is_the_folder_that_holds_the_picture(tmp_path):
    touch(tmp_path, "anna/1.jpg", "anna/left/2.jpg", "bert/1.jpg", "3.jpg")
    found = owners(find_sources([tmp_path], specimen="blood"), tmp_path)
    assert found == {"3.jpg": tmp_path.name, "anna/1.jpg": "anna", "anna/left/2.jpg": "left", "bert/1.jpg": "bert"}


def test_pictures_of_an_earlier_report_are_no_photographs(tmp_path):
    report = ["record.json", "report.html", "fields/0.jpg", "patients/0001.jpg"]
    touch(tmp_path, "anna/1.jpg", "anna/fields/2.jpg", *(f"ward/out/{name}" for name in report), "ward/out/3.jpg")
    files = ["anna/1.jpg", "anna/fields/2.jpg", "ward/out/3.jpg"]
    assert sorted(owners(find_sources([tmp_path], specimen="blood"), tmp_path)) == files
    names = [f"s3://b/{p.relative_to(tmp_path).as_posix()}" for p in sorted(tmp_path.rglob("*")) if p.is_file()]
    pictures = [n.removeprefix("s3://b/") for n in without_reports(names) if n.endswith(".jpg")]
    assert pictures == files and without_reports(names[:1]) == names[:1]


def test_two_folders_of_one_name_are_two_patients(tmp_path):
    touch(tmp_path, "north/p1/1.jpg", "south/p1/1.jpg", "south/p2/1.jpg")
    found = owners(find_sources([tmp_path / "north", tmp_path / "south"], specimen="blood"), tmp_path)
    assert found == {"north/p1/1.jpg": "north/p1", "south/p1/1.jpg": "south/p1", "south/p2/1.jpg": "p2"}


def test_a_loose_file_belongs_to_its_folder_and_keeps_the_name_it_was_given(tmp_path, monkeypatch):
    touch(tmp_path, "anna/1.jpg")
    monkeypatch.chdir(tmp_path / "anna")
    (source,) = find_sources(["1.jpg"], specimen="marrow")
    assert (source.file, source.key.patient_id, source.key.center) == ("1.jpg", "anna", "unknown")
    assert (source.key.smear_id, source.key.specimen) == ("anna", "marrow")


def test_a_picture_given_twice_is_read_once(tmp_path):
    touch(tmp_path, "anna/1.jpg", "anna/2.jpg")
    given = [tmp_path / "anna", tmp_path / "anna" / "1.jpg", tmp_path / "anna" / ".." / "anna" / "2.jpg"]
    found = find_sources(given, specimen="blood")
    assert [(Path(s.file).name, s.key.patient_id) for s in found] == [("1.jpg", "anna"), ("2.jpg", "anna")]


def test_links_belong_to_the_patient_that_the_user_named(tmp_path):
    touch(tmp_path, "store/x/1.jpg", "store/x/2.jpg", "bert/own.jpg")
    for patient, target in (("anna", "1.jpg"), ("anna", "2.jpg"), ("bert", "2.jpg")):
        (tmp_path / "in" / patient).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / patient / target).symlink_to(tmp_path / "store" / "x" / target)
    (tmp_path / "in" / "carl").symlink_to(tmp_path / "bert")
    (tmp_path / "in" / "anna" / "round").symlink_to(tmp_path / "in")
    found = owners(find_sources([tmp_path / "in"], specimen="blood"), tmp_path)
    assert found == {
        "in/anna/1.jpg": "anna",
        "in/anna/2.jpg": "anna",
        "in/bert/2.jpg": "bert",
        "in/carl/own.jpg": "carl",
    }


def test_two_centres_that_both_have_a_patient_1(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    rows = ("1.jpg,1,north", "2.jpg,1,south", "3.jpg,2,north", "4.jpg,2,")
    csv = table(tmp_path / "p.csv", "file,patient_id,center", *rows)
    found = owners(find_sources([tmp_path], specimen="blood", patients=csv), tmp_path)
    assert found == {"1.jpg": "north/1", "2.jpg": "south/1", "3.jpg": "2", "4.jpg": "2"}


def test_a_folder_that_may_not_be_looked_into_is_a_source_that_will_fail(tmp_path, monkeypatch):
    touch(tmp_path, "anna/1.jpg", "bert/1.jpg")
    looked = os.scandir

    def refuse(folder):
        if Path(folder).name == "bert":
            raise PermissionError(13, "Permission denied", str(folder))
        return looked(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_sources([tmp_path], specimen="blood")
    assert owners(found, tmp_path) == {"anna/1.jpg": "anna", "bert": "bert"}
    with pytest.raises(ImageError) as caught:
        read_image(found[1].file)
    assert caught.value.reason == "no_permission"
    csv = table(tmp_path / "p.csv", "file,patient_id", "anna/1.jpg,a")
    assert owners(find_sources([tmp_path], specimen="blood", patients=csv), tmp_path)["bert"] == "bert"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_table_says_whose(tmp_path, encoding, mark):
    touch(tmp_path, "all/1.jpg", "all/2.jpg", "all/sub/3.jpg")
    rows = ["file,patient_id,smear_id,center,note", "1.jpg,Änne,s1,Köln,x", "2.jpg, Änne ,s2,,", "sub\\3.jpg,bert"]
    csv = table(tmp_path / "all" / "patients.csv", *(r.replace(",", mark) for r in rows), "", encoding=encoding)
    found = find_sources([tmp_path / "all"], specimen="blood", patients=csv)
    assert [(s.key.patient_id, s.key.smear_id, s.key.center) for s in found] == [
        ("Änne", "s1", "Köln"),
        ("Änne", "s2", "unknown"),
        ("bert", "bert", "unknown"),
    ]


def test_the_table_may_lie_elsewhere_and_hold_more_than_was_asked_for(tmp_path):
    touch(tmp_path, "in/a/1.jpg", "in/b/1.jpg", "tables/x.txt")
    csv = table(tmp_path / "tables" / "p.csv", "file,patient_id", "a/1.jpg,anna", f"{tmp_path}/in/b/1.jpg,bert")
    assert len(find_sources([tmp_path / "in"], specimen="blood", patients=csv)) == 2
    assert owners(find_sources([tmp_path / "in", tmp_path / "in" / "b"], specimen="blood", patients=csv), tmp_path) == {
        "in/a/1.jpg": "anna",
        "in/b/1.jpg": "bert",
    }
    (only,) = find_sources([tmp_path / "in" / "b"], specimen="blood", patients=table(csv, "file,patient_id", "1.jpg,b"))
    assert only.key.patient_id == "b"


def test_a_picture_without_a_row_is_named(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    csv = table(tmp_path / "p.csv", "file,patient_id", "1.jpg,anna")
    with pytest.raises(InputError, match=r"no row for .*2\.jpg and 1 more"):
        find_sources([tmp_path], specimen="blood", patients=csv)


def test_a_row_without_a_picture_becomes_a_source_that_will_fail(tmp_path):
    touch(tmp_path, "1.jpg")
    csv = table(tmp_path / "p.csv", "file,patient_id", "gone.jpg,anna", "1.jpg,anna")
    found = find_sources([tmp_path], specimen="blood", patients=csv)
    assert [Path(s.file).name for s in found] == ["1.jpg", "gone.jpg"]


def test_a_row_is_never_guessed_between_two_pictures(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    csv = table(tmp_path / "p.csv", "file,patient_id", "1.jpg,anna")
    with pytest.raises(InputError, match=r"line 2: 1\.jpg is in several folders"):
        find_sources([tmp_path / "a", tmp_path / "b"], specimen="blood", patients=csv)


def test_rows_may_repeat_but_not_differ(tmp_path):
    touch(tmp_path, "1.jpg")
    csv = table(tmp_path / "p.csv", "file,patient_id", "1.jpg,anna", "./1.jpg,anna")
    assert len(find_sources([tmp_path], specimen="blood", patients=csv)) == 1
    table(csv, "file,patient_id", "1.jpg,anna", "1.jpg,bert")
    with pytest.raises(InputError, match="lines 2 and 3 differ about 1.jpg"):
        find_sources([tmp_path], specimen="blood", patients=csv)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the column file and patient_id"),
        (b"file,who\n1.jpg,anna\n", "lacks the column patient_id"),
        (b"file,patient_id\n1.jpg,anna\n,bert\n", "line 3: expected file and patient_id"),
        (b"file,patient_id\n1.jpg\n", "line 2: expected file and patient_id, got '1.jpg' and ''"),
        (b"file,patient_id\n1.jpg,J\xfcrgen\n", "not UTF-8"),
        (b"file,patient_id,Patient_ID\n1.jpg,anna,bert\n", "the column patient_id twice"),
        (b"file,patient_id\n\na,1.jpg,anna\n", "line 3 has 3 values and the table 2 columns"),
        (b"file,patient_id\n1.jpg,anna\0\n", "bytes of zero"),
        (b'file,patient_id\n1.jpg,"anna\n', "is not a CSV table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, content, message):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_patients_table(tmp_path / "p.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\r\nfile;patient_id\r\n1.jpg;anna\r\n",
        "file\tpatient_id\n1.jpg\tanna\n".encode("utf-16"),
        b"file,patient_id\r1.jpg,anna\r",
        b'"File", "patient_id"\n"1.jpg", "anna"\n',
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content):
    (tmp_path / "p.csv").write_bytes(content)
    assert [(row.file, row.patient_id) for row in read_patients_table(tmp_path / "p.csv")] == [("1.jpg", "anna")]


def test_ids_with_a_line_end_or_a_decimal_comma_stay_as_they_are(tmp_path):
    (tmp_path / "p.csv").write_bytes(b'file;patient_id;age_years\n1.jpg;"an\nna";40,5\n2.jpg;12,5;\n')
    rows = read_patients_table(tmp_path / "p.csv")
    assert [(r.line, r.patient_id, r.facts) for r in rows] == [(3, "an\nna", {"age_years": 40.5}), (4, "12,5", {})]


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="can't read the patients table .*No such file"):
        read_patients_table(tmp_path / "p.csv")


def test_the_digest_tells_other_pictures_and_other_patients(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/2.jpg")
    before = sources_sha256(find_sources([tmp_path], specimen="blood"))
    assert before == sources_sha256(find_sources([tmp_path], specimen="blood"))
    assert before != sources_sha256(find_sources([tmp_path], specimen="marrow"))
    csv = table(tmp_path / "p.csv", "file,patient_id", "a/1.jpg,x", "a/2.jpg,y")
    assert before != sources_sha256(find_sources([tmp_path], specimen="blood", patients=csv))
    (tmp_path / "a" / "3.jpg").write_bytes(b"one more")
    assert before != sources_sha256(find_sources([tmp_path], specimen="blood"))

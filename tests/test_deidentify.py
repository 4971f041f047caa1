"""De-identification: names are planted in every place a photograph's file has, and no byte that goes out holds one."""

from __future__ import annotations

import base64
import gzip
import io
import json
import stat
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import draw_field, make_model, scatter_cells
from data.make_planted import META, NAME, files_with, found_in, write_planted
from data.make_signed import make_signed

from leukoscope.cli import main
from leukoscope.dataset.formats import writable
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.exchange.export import export_records
from leukoscope.exchange.formats import FORMATS, Wishes
from leukoscope.images import file_sha256, read_image
from leukoscope.images.clean import clean_picture
from leukoscope.pipeline import analyze
from leukoscope.pseudonyms import Pseudonyms, open_key
from leukoscope.report import read_record
from leukoscope.taxonomy import WBC_11
from leukoscope.types import FieldKey

ARCHIVE = Path(__file__).parent / "archive"
HEIGHT, WIDTH = 256, 320
KNOWN = (WBC_11.attributes[0].name, WBC_11.attributes[0].values[0])  # an attribute that a shipped set has
EXPORTS = tuple(f.name for f in FORMATS)


def pictures() -> tuple[list[np.ndarray], list[list]]:
    noise = np.random.default_rng(1).integers(-4, 5, (HEIGHT, WIDTH, 1))
    cells = [scatter_cells(np.random.default_rng(n), HEIGHT, WIDTH, 3, apart=75) for n in range(6)]
    drawn = [np.clip(draw_field(HEIGHT, WIDTH, c).astype(int) + noise, 0, 255).astype(np.uint8) for c in cells]
    return drawn, cells


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> list[Path]:
    return write_planted(tmp_path_factory.mktemp("in"), pictures()[0])


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory) -> Path:
    """A run over them: patients, smears and centres are called by the name, too."""
    folder = tmp_path_factory.mktemp("run")
    table = folder / "patients.csv"
    rows = [f"{file.name},{NAME} {n % 2},{NAME} smear,{NAME} hospital,93\n" for n, file in enumerate(planted)]
    table.write_text("file,patient_id,smear_id,center,age_years\n" + "".join(rows), "utf-8")
    model = make_model(tmp_path_factory.mktemp("model"))
    return analyze([planted[0].parent], folder / "out", model=model, patients=table).parent


@pytest.fixture(scope="module")
def signed(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "signed.json"
    path.write_text(json.dumps(make_signed(read_record(run / "record.json"), by=f"Dr. {NAME}")), "utf-8")
    return path


@pytest.fixture(scope="module")
def data_set(planted, tmp_path_factory) -> Path:
    """A data set of them, with notes among the attributes."""
    folder = tmp_path_factory.mktemp("sets") / NAME
    shape = {"attributes": (("note", f"seen by {NAME}"), KNOWN)}
    fields = tuple(
        TruthField(
            FieldKey(f"{NAME}/{n}", f"{NAME} smear", f"{NAME} {n % 2}", f"{NAME} hospital", "blood"),
            file.name,
            file_sha256(file),
            WIDTH,
            HEIGHT,
            (TruthCell((40.0, 30.0, 90.0, 80.5), "lymphocyte", "LYM", **shape),),
            0.1,
            "train",
        )
        for n, file in enumerate(planted)
    )
    write_dataset(Dataset(NAME, planted[0].parent, fields, "CC0", "nobody", "csv"), folder)
    return folder


def test_the_search_finds_what_is_planted(planted, tmp_path):
    assert all(found_in(file.read_bytes(), META) for file in planted)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.txt", f"x{META}" * 9)
    packed = zlib.compress(META.encode() * 9)
    pdf = b"stream\n" + base64.a85encode(packed) + b"~>endstream"
    places = (archive.getvalue(), gzip.compress(META.encode() * 9), META.encode("utf-16-le"), pdf, b"\1" + packed)
    texts = (b'"' + base64.b64encode(b"ab" + META.encode() * 2) + b'"', json.dumps({"a": META[0] + "\\u"}).encode())
    assert all(found_in(place, META) for place in (*places, texts[0]))
    assert not found_in(texts[1], META)
    (tmp_path / META).mkdir()
    assert files_with(tmp_path, META) == [META]


def test_what_a_file_says_beside_its_pixels_never_goes_out(run, signed, tmp_path):
    """Without any option: a run's outputs and every export. Ids and file names are the user's own and stay."""
    assert files_with(run, META) == []
    export_records([run, signed], EXPORTS, tmp_path)
    assert files_with(tmp_path, META) == []
    assert files_with(tmp_path, NAME) != []


def test_no_byte_of_what_is_deidentified_holds_a_name(run, signed, tmp_path, capsys):
    out, key = tmp_path / "out", tmp_path / "key.json"
    where = ["--out", str(out), "--key", str(key)]
    assert main(["export", str(run), str(signed), "--to", *EXPORTS, "--deidentify", *where]) == 0
    assert files_with(out, NAME) == files_with(out, META) == [] and NAME not in capsys.readouterr().out
    written = {p.relative_to(out).parts[0] for p in out.rglob("*") if p.is_file()}
    assert written == set(EXPORTS) and len(list(out.rglob("*.dcm"))) == 6 + 6 + 2 + 1
    assert (out / "report" / "report" / "fields").is_dir()  # the photographs were found, and are shown
    record = read_record(out / "record" / "record.json")
    assert [p["stated"] for p in record.patients] == [{"age_years": 90}] * 2
    plain = [[c["box"] for c in f["cells"]] for f in read_record(run / "record.json").fields()]
    assert [[c["box"] for c in f["cells"]] for f in record.fields()] == plain
    assert all(f["sha256"] is None for f in record.fields())
    told = json.loads(key.read_text())["names"]["patient"]
    assert sorted(told) == [f"{NAME} 0", f"{NAME} 1"] and sorted(told.values()) == sorted(
        p["patient_id"] for p in record.patients
    )
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_a_signed_record_without_names_says_no_date(signed, tmp_path):
    pdf = pytest.importorskip("leukoscope.web.pdf")
    export_records([signed], ["record", "fhir", "dicom", "xlsx"], tmp_path, wishes=Wishes(deidentify=True))
    (path,) = (p for p in (tmp_path / "record").glob("*.json"))
    record = json.loads(path.read_text("utf-8"))
    printed = pdf.report_pdf(record, "digest")
    assert found_in(printed, record["patient_id"]) and not found_in(printed, NAME)
    bundle = json.loads(next((tmp_path / "fhir").glob("patient-*.json")).read_text())
    assert bundle["entry"][0]["resource"]["status"] == "final" and "2026" not in json.dumps(bundle)
    report = next((tmp_path / "dicom").rglob("report.dcm")).read_bytes()
    assert b"19000101" in report and b"2026" not in report and b"PatientIdentityRemoved" not in report


def test_one_key_gives_a_patient_one_pseudonym_and_none_gives_none(run, signed, tmp_path):
    def ids(name: str, record: Path, key: Path | None) -> set[str]:
        export_records([record], ["fhir"], tmp_path / name, wishes=Wishes(deidentify=True, key=key))
        return {p.stem for p in (tmp_path / name / "fhir").glob("patient-*.json")}

    key = tmp_path / "key.json"
    first, again, of_signed = ids("a", run, key), ids("b", run, key), ids("c", signed, key)
    assert first == again and of_signed < first and len(first) == 2
    assert ids("d", run, None) != ids("e", run, None)


@pytest.mark.parametrize("form", writable())
def test_a_data_set_leaves_without_names(data_set, tmp_path, form, capsys):
    out = tmp_path / "out"
    assert main(["dataset", "export", form, str(data_set), "--out", str(out), "--deidentify"]) == 0
    assert files_with(out, NAME) == files_with(out, META) == [] and NAME not in capsys.readouterr().out
    import_dataset(form, out, tmp_path / "again")
    fields = read_dataset(tmp_path / "again").fields
    assert len(fields) == 6 and len({f.key.patient_id for f in fields}) == 2
    assert {c.box for f in fields for c in f.cells} == {(40.0, 30.0, 90.0, 80.5)}
    assert {c.attributes for f in fields for c in f.cells} == {(KNOWN,)}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_crops_leave_without_names(data_set, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["dataset", "crops", str(data_set), "--out", str(out), "--pad-px", "5", "--deidentify"]) == 0
    assert files_with(out, NAME) == files_with(out, META) == [] and NAME not in capsys.readouterr().out
    assert len(list(out.rglob("*.png"))) == 6


def test_a_deidentified_set_is_a_data_set(data_set, planted, tmp_path, capsys):
    out, key = tmp_path / "out", tmp_path / "key.json"
    assert main(["dataset", "deidentify", str(data_set), "--out", str(out), "--key", str(key)]) == 0
    assert "note" in capsys.readouterr().out
    assert files_with(out, NAME) == files_with(out, META) == []
    made = read_dataset(out)
    for field, file in zip(made.fields, planted, strict=True):
        assert np.array_equal(read_image(made.path(field)), read_image(file))
        assert file_sha256(made.path(field)) == field.sha256
    assert main(["dataset", "deidentify", str(data_set), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_turned_photograph_is_upright_when_it_is_clean(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5] = 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    data, suffix = clean_picture(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(data)
    assert suffix == ".png" and np.array_equal(read_image(tmp_path / "b.png"), read_image(tmp_path / "a.jpg"))
    assert read_image(tmp_path / "b.png").shape == (30, 20, 3)


def test_a_key_is_kept_apart_and_is_no_other_file(run, tmp_path):
    with pytest.raises(InputError, match="handed on"):
        open_key(tmp_path / "out" / "key.json", out=tmp_path / "out")
    with pytest.raises(InputError, match="no folder"):
        open_key(tmp_path / "nowhere" / "key.json", out=tmp_path / "out")
    for content in ("{}", "no json", '{"leukoscope_key": 9}', '{"leukoscope_key": 1, "secret": "zz", "names": {}}'):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(DataError, match="no key file"):
            open_key(tmp_path / "other.json", out=tmp_path / "out")
    with pytest.raises(InputError, match="needs --deidentify"):
        export_records([run], ["fhir"], tmp_path / "out", wishes=Wishes(key=tmp_path / "key.json"))
    assert not (tmp_path / "out").exists()


def test_pseudonyms_need_the_key_to_be_guessed():
    one, other = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    assert one.of("patient", "A") == Pseudonyms(b"a" * 32).of("patient", "A") != other.of("patient", "A")
    assert one.of("patient", "A") != one.of("smear", "A").replace("smear", "patient")
    assert one.of("patient", "") == "" and len({one.of("patient", str(n)) for n in range(2000)}) == 2000
    assert one.of("patient", "\ud800") != one.of("patient", "\ud801")


def test_what_nobody_knows_to_be_harmless_stays_behind(tmp_path):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    record["provenance"] |= {"host": NAME}
    record["provenance"]["options"] |= {"own_cells": f"/home/{NAME}/metrics.json"}
    record["patients"][0] |= {"name": NAME, "stated": {"sex": "female", "surname": NAME}}
    record["fields"][0] |= {
        "region": {"box": [0, 0, 9, 9]},
        "detail": f"/mnt/{NAME}/1.jpg: is a folder",
        "note": NAME,
        "gps": NAME,
        "reason": NAME,
    }
    record["fields"][0] |= {"also_of": [NAME], "overlaps": [{"field": 1, "file": NAME, "proven": True}]}
    record["fields"][0]["cells"][0] |= {"by": NAME}
    slide = {key: NAME for key in ("sha256", "patient_id", "smear_id", "vendor", "scanned")}
    slides = {"slides": [slide | {"file": f"/{NAME}.svs", "width": 9, "map": ["01"]}]}
    record = {key: record[key] for key in ("record_version", "provenance", "patients")} | slides | record
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    wishes = Wishes(deidentify=True)
    export_records([tmp_path], ["record", "csv", "fhir", "geojson"], tmp_path / "out", wishes=wishes)
    assert files_with(tmp_path / "out", NAME) == []
    made = read_record(tmp_path / "out" / "record" / "record.json")
    assert made.patients[0]["stated"] == {"sex": "female"} and made.slides[0]["map"] == ["01"]
    assert replace(made, path=tmp_path / "record.json").patients[0]["n_counted"] == 7

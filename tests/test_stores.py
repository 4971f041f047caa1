"""Photographs and runs in object stores, against moto's S3 server: the same bytes, resumed by digest, clear errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from data.later import Later
from data.make_bundles import noisy_smears
from data.make_store import make_server, make_store
from data.stopping import stop_after

from leukoscope import stores
from leukoscope.cli import main
from leukoscope.errors import InputError
from leukoscope.pipeline import analyze
from leukoscope.pipeline import store_run as runs
from leukoscope.report import read_record

Later("s3fs")
# s3fs keeps its connections in a thread of its own until the process ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


server = pytest.fixture(scope="module")(make_server)


@pytest.fixture
def s3(server, monkeypatch, tmp_path):
    """The store, empty, with the bucket "smears"; runs in it are worked on below tmp_path."""
    monkeypatch.setenv(stores.CACHE, str(tmp_path / "cache"))
    return make_store(server, monkeypatch, "smears")


@pytest.fixture(scope="module")
def smears(tmp_path_factory) -> Path:
    return noisy_smears(tmp_path_factory.mktemp("smears"), {"anna": 2, "bert": 2})


@pytest.fixture
def photographs(s3, smears) -> str:
    for path in smears.rglob("*.png"):
        s3.put_file(str(path), f"smears/in/{path.parent.name}/{path.name}")
    s3.pipe_file("smears/in/anna/notes.txt", b"no picture")
    return "s3://smears/in"


def local(record_path: Path, smears: Path, address: str) -> dict:
    """A record with the addresses of its files as local paths."""
    text = record_path.read_text("utf-8").replace(address, smears.as_posix())
    return json.loads(text)


def test_photographs_in_a_store_give_the_record_of_a_folder(photographs, smears, model, tmp_path):
    wanted = json.loads(analyze([smears], tmp_path / "folder", model=model).read_text())
    got = local(analyze([photographs], tmp_path / "store", model=model), smears, photographs)
    assert got == wanted
    assert "../fields/" in (tmp_path / "store" / "report.html").read_text() or (tmp_path / "store" / "fields").is_dir()


def test_a_table_says_whose_an_object_is(photographs, smears, model, tmp_path, s3):
    s3.pipe_file("smears/in/patients.csv", b"file,patient_id\nanna/0.png,A\nanna/1.png,A\nbert/2.png,B\nbert/9.png,B\n")
    s3.rm_file("smears/in/bert/3.png")
    record = read_record(analyze([photographs], tmp_path / "out", model=model, patients=f"{photographs}/patients.csv"))
    assert {Path(f["file"]).name: (f["patient_id"], f["reason"] == "missing") for f in record.fields()} == {
        "0.png": ("A", False), "1.png": ("A", False), "2.png": ("B", False), "9.png": ("B", True),
    }  # fmt: skip


def test_outputs_in_a_store_are_those_of_a_folder(photographs, model, tmp_path, s3, smears):
    here = analyze([photographs], tmp_path / "out", model=model).parent
    analyze([photographs], "s3://smears/run", model=model)
    found = {k.removeprefix("smears/run/"): s3.cat_file(k) for k in s3.find("smears/run") if "/.work/" not in k}
    assert found == {p.relative_to(here).as_posix(): p.read_bytes() for p in here.rglob("*")
                     if p.is_file() and ".work" not in p.parts}  # fmt: skip
    assert len(s3.find("smears/run/.work/segments")) == 3  # the head, and one a patient
    assert not s3.exists("smears/run/.work/lock.json")
    with pytest.raises(InputError, match=r"s3://smears/run holds a run already"):
        analyze([photographs], "s3://smears/run", model=model)


def test_a_run_in_a_store_goes_on_on_another_machine(photographs, model, tmp_path, s3, monkeypatch):
    whole = analyze([photographs], tmp_path / "out", model=model).read_bytes()

    with pytest.raises(KeyboardInterrupt):
        analyze([photographs], "s3://smears/run", model=model, progress=stop_after(3))
    assert not s3.exists("smears/run/record.json")
    last = sorted(s3.find("smears/run/.work/segments"))[-1]
    s3.pipe_file(last, s3.cat_file(last)[:-7])  # torn, as no store leaves it
    monkeypatch.setenv(stores.CACHE, str(tmp_path / "another"))
    seen = []
    analyze([photographs], "s3://smears/run", model=model, resume=True, progress=lambda done, total: seen.append(done))
    assert s3.cat_file("smears/run/record.json") == whole and seen == [3, 4]  # the first patient was kept


def test_an_object_that_changed_is_noticed_by_its_digest(photographs, model, tmp_path, s3):
    with pytest.raises(KeyboardInterrupt):
        analyze([photographs], tmp_path / "out", model=model, progress=stop_after(2))
    data = s3.cat_file("smears/in/anna/0.png")
    s3.pipe_file("smears/in/anna/0.png", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"s3://smears/in/anna/0.png is not what was analysed"):
        analyze([photographs], tmp_path / "out", model=model, resume=True)


def test_an_object_that_vanishes_is_listed_as_missing(photographs, model, tmp_path, s3):
    def vanish(done, total):
        if done == 1:
            s3.rm_file("smears/in/bert/3.png")

    path = analyze([photographs], tmp_path / "out", model=model, progress=vanish)
    reasons = {Path(f["file"]).name: f["reason"] for f in read_record(path).fields()}
    assert len(reasons) == 4
    if reasons["3.png"] != "missing":  # it had been read by then: the report shows no picture of it
        assert "can't be read any more (missing)" in path.with_name("report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("address", "said"),
    [("s3://no-such-bucket/in", "s3://no-such-bucket does not exist"), ("s3://smears/nothing", "nothing there"),
     ("nonsense://a/b", "no such store")],
)  # fmt: skip
def test_wrong_addresses_are_one_clear_line(photographs, model, tmp_path, capsys, address, said):
    assert main(["analyze", address, "--out", str(tmp_path / "out"), "--model", str(model)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_without_credentials_or_the_extra_one_line_says_what_to_do(photographs, model, tmp_path, monkeypatch, capsys):
    import s3fs

    words = ["analyze", photographs, "--out", str(tmp_path / "out"), "--model", str(model)]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    assert main(words) == 2 and "no credentials for s3://smears" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(words) == 2 and "pip install 'leukoscope[stores]'" in capsys.readouterr().err


def test_a_file_address_is_a_path(smears, model, tmp_path):
    path = analyze([f"file://{smears}"], f"file://{tmp_path}/out", model=model)
    assert path == tmp_path / "out" / "record.json"
    assert path.read_bytes() == analyze([smears], tmp_path / "same", model=model).read_bytes()


def test_two_runs_at_one_address_are_one_run_and_a_refusal(s3, monkeypatch):
    monkeypatch.setattr(runs, "SILENT_S", 0.6)
    monkeypatch.setattr(runs, "_BEAT_S", 0.1)
    lock = runs._Lock("s3://smears/run/.work/lock.json")
    lock.take()
    with pytest.raises(runs.RunInUse, match="s3://smears/run is in use by another run"):
        runs._Lock("s3://smears/run/.work/lock.json").take()
    lock._ended.set()  # its process died: the number stands still
    lock._beats.join()
    other = runs._Lock("s3://smears/run/.work/lock.json")
    other.take()
    other.release()
    assert not stores.exists("s3://smears/run/.work/lock.json")

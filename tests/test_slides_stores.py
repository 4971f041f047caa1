"""Slides in object stores, against moto's S3 server: the record of the local slide, copies that are bounded and go."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data.later import Later
from data.make_bundles import draw_field, scatter_cells
from data.make_slide import make_slide, make_stitched
from data.make_store import make_server, make_store
from PIL import Image

from leukoscope import stores
from leukoscope.errors import ImageError
from leukoscope.images.slides import copies, slide_sha256
from leukoscope.images.slides import names as slide_names
from leukoscope.images.slides.shelf import copy_slide, put_away_copies, slide_digest, slide_of
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.report import read_record
from leukoscope.simulate.slide_dicom import Series
from leukoscope.simulate.slide_files import write_encapsulated

Later("s3fs")
# s3fs keeps its connections in a thread of its own until the process ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
HEIGHT, WIDTH = 600, 800
WHOLE = AnalyzeOptions(um_per_px=0.5, whole=True, tile_px=256, workers=2)
server = pytest.fixture(scope="module")(make_server)


@pytest.fixture
def s3(server, monkeypatch, tmp_path):
    """The store, empty, with the bucket "slides"; copies go below tmp_path."""
    monkeypatch.setenv(stores.CACHE, str(tmp_path / "cache"))
    yield make_store(server, monkeypatch, "slides")
    put_away_copies(f"s3://slides/in/{name}" for name in ("anna/a.svs", "bert/b.tif"))  # the next test has its own


def write_series(folder: Path, number: int) -> None:
    """A DICOM slide of one level in four tiles, and its label."""
    folder.mkdir(exist_ok=True)
    series, tiles = Series(0.256, 0.256), [io.BytesIO() for _ in range(4)]
    for n, tile in enumerate(tiles):
        cells = scatter_cells(np.random.default_rng(n + 4 * number), 256, 256, 3, apart=75)
        Image.fromarray(draw_field(256, 256, cells)).save(tile, "JPEG", quality=95)
    level = series.image(1, ("VOLUME", "NONE"), (512, 512), tile_px=256, mm_per_px=0.0005)
    write_encapsulated(folder / f"{number}-level.dcm", level, (t.getvalue() for t in tiles), 4)
    write_encapsulated(folder / f"{number}-label.dcm", series.label(2, 256, 256), iter([tiles[0].getvalue()]), 1)


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    """An SVS, a stitched TIFF, and two that can't be read, each a patient's."""
    folder = tmp_path_factory.mktemp("slides")
    cells = scatter_cells(np.random.default_rng(3), HEIGHT, WIDTH, 20, apart=75)
    make_slide(folder / "anna" / "a.svs", draw_field(HEIGHT, WIDTH, cells), um_per_px=0.5)
    (folder / "bert").mkdir()
    make_stitched(folder / "bert" / "b.tif", draw_field(HEIGHT, WIDTH, cells))
    for number in (0, 1):
        write_series(folder / "edda", number)
    for patient, data in (("cora", b"II*\0 no slide"), ("dora", b"")):
        (folder / patient).mkdir()
        (folder / patient / "c.svs").write_bytes(data)
    return folder


def put(s3, folder: Path) -> str:
    """The files below a folder, in the store."""
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put_file(str(path), f"slides/in/{path.relative_to(folder).as_posix()}")
    return "s3://slides/in"


def copies_here(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_slides_in_a_store_give_the_record_of_local_ones(s3, slides, model, tmp_path, monkeypatch):
    monkeypatch.setattr(slide_names, "MOST_PHOTOGRAPH", 1000)
    address, said = put(s3, slides), []
    wanted = json.loads(analyze([slides], tmp_path / "here", model=model, options=WHOLE).read_text())
    run = analyze([address], tmp_path / "out", model=model, options=WHOLE, progress=lambda *n: said.append(n))
    assert json.loads(run.read_text().replace(address, slides.as_posix())) == wanted
    assert {f["reason"] for f in read_record(run).fields()} >= {None, "empty"} and len(wanted["slides"]) == 4
    assert not copies_here(tmp_path) and said[0][1] == 1  # a megabyte at the least
    here, there = (tmp_path / run / "cells.csv" for run in ("here", "out"))
    assert there.read_text("utf-8").replace(address, slides.as_posix()) == here.read_text("utf-8")
    assert "changed after" not in there.with_name("report.html").read_text("utf-8")


def test_a_stopped_run_of_a_slide_in_a_store_goes_on_alike(s3, slides, model, tmp_path):
    address = put(s3, slides / "anna")
    whole = analyze([address], tmp_path / "whole", model=model, options=WHOLE).read_bytes()

    def stop(done, total):
        if total > 1 and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze([address], tmp_path / "out", model=model, options=WHOLE, progress=stop)
    assert not copies_here(tmp_path)
    assert analyze([address], tmp_path / "out", model=model, options=WHOLE, resume=True).read_bytes() == whole


def test_all_objects_of_a_slide_are_copied_and_no_others(s3, tmp_path):
    (tmp_path / "in" / "m").mkdir(parents=True)
    for name in ("m.mrxs", "m/Slidedat.ini", "m/Data0001.dat", "other.txt"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    (tmp_path / "in" / "h.vms").write_text("[Virtual]\nImageFile=h one.jpg\nMapFile=gone.jpg\n")
    (tmp_path / "in" / "h one.jpg").write_bytes(b"part")
    address = put(s3, tmp_path / "in")
    for name, files in (("m.mrxs", 3), ("h.vms", 2)):
        with copies.lease_of(f"{address}/{name}") as lease:
            assert sum(p.is_file() for p in lease.path.parent.rglob("*")) == files + 1  # and what it is a copy of
            assert slide_sha256(lease.path) == slide_sha256(tmp_path / "in" / name)
        assert slide_digest(f"{address}/{name}") == slide_sha256(tmp_path / "in" / name)


def test_an_older_copy_is_not_taken_for_the_slide(s3, slides, tmp_path):
    address = f"{put(s3, slides)}/anna/a.svs"
    first = slide_digest(address)
    put_away_copies([])
    s3.put_file(str(slides / "bert" / "b.tif"), "slides/in/anna/a.svs")
    assert slide_digest(address) == slide_sha256(slides / "bert" / "b.tif") != first


def test_a_slide_that_changed_while_it_is_open_is_not_waited_for(s3, slides, tmp_path):
    address = f"{put(s3, slides)}/anna/a.svs"
    with slide_of(address):
        s3.put_file(str(slides / "bert" / "b.tif"), "slides/in/anna/a.svs")
        copy_slide(address)  # its own reader holds the copy
        assert slide_digest(address) == slide_sha256(slides / "anna" / "a.svs")
    put_away_copies([address])
    assert slide_digest(address) == slide_sha256(slides / "bert" / "b.tif")


def test_copies_are_bounded_and_one_that_is_read_stays(s3, slides, tmp_path, monkeypatch):
    address = put(s3, slides)
    first, second = f"{address}/anna/a.svs", f"{address}/bert/b.tif"
    one = (slides / "anna" / "a.svs").stat().st_size + (slides / "bert" / "b.tif").stat().st_size
    monkeypatch.setenv(copies.MOST, str((one - 1) / 1e9))
    copy_slide(first)
    copy_slide(second)  # the first one goes
    assert [p.name for p in copies_here(tmp_path) if p.name != "copy.json"] == ["b.tif"]
    with slide_of(first):  # is read: the second one goes, and comes back beside it
        copy_slide(second)
        assert {p.name for p in copies_here(tmp_path)} == {"a.svs", "b.tif", "copy.json"}
    put_away_copies([first, second])
    assert not copies_here(tmp_path)


def test_no_room_for_a_copy_is_one_clear_line(s3, slides, model, tmp_path, monkeypatch):
    address = put(s3, slides / "anna")
    cases = (
        ((copies.MOST, "1e-6"), r"a.svs: its copy takes .* GB, .* set LEUKOSCOPE_CACHE_GB higher"),
        ((copies.MOST, "many"), r"a.svs: LEUKOSCOPE_CACHE_GB must be a number of gigabytes, got 'many'"),
        ((stores.CACHE, str(tmp_path / "file")), r"a.svs: can't be copied to .*: may you write there"),
    )
    (tmp_path / "file").write_text("no folder")
    for (name, value), words in cases:
        with monkeypatch.context() as patch, pytest.raises(ImageError, match=words):
            patch.setenv(name, value)
            copy_slide(f"{address}/a.svs")
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ImageError, match=r"0.0 GB are free in .*: make room, or let LEUKOSCOPE_CACHE name"):
        copy_slide(f"{address}/a.svs")
    record = read_record(analyze([address], tmp_path / "out", model=model, options=WHOLE))
    assert [(f["reason"], "make room" in f["detail"]) for f in record.fields()] == [("too_large", True)]


def test_an_object_that_changes_while_it_is_copied_is_no_copy(s3, slides, tmp_path, monkeypatch):
    address = f"{put(s3, slides)}/anna/a.svs"
    whole = copies.blocks

    def grows(file):
        yield from whole(file)
        s3.pipe_file("slides/in/anna/a.svs", b"another")

    monkeypatch.setattr(copies, "blocks", grows)
    with pytest.raises(ImageError, match="was changed while it was copied"):
        copy_slide(address)
    assert not copies_here(tmp_path)

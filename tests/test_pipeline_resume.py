"""A run that was killed at any moment and resumed leaves the very files of one that was not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import draw_field, make_model, scatter_cells
from data.stopping import stop_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.errors import InputError, LeukoscopeError
from leukoscope.images import stored
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline.cell_pictures import CellPicture
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.sources import Source
from leukoscope.types import FieldKey

OUTPUTS = ("record.json", "cells.csv", "patients.csv", "report.html", ".work/journal.jsonl", ".work/thumbs.jsonl")


N_FIELDS = 5


@pytest.fixture(scope="module")
def smears(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("smears")
    for number in range(N_FIELDS):
        cells = scatter_cells(np.random.default_rng(number), 200, 256, 3, apart=75)
        Image.fromarray(draw_field(200, 256, cells)).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def whole(smears, model, tmp_path_factory) -> Path:
    """The output of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    analyze([smears], out, model=model)
    return out


def assert_same(out: Path, whole: Path) -> None:
    for name in OUTPUTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(out.rglob("*.part"))


def cut(whole: Path, out: Path, journal_bytes: int, thumbs_bytes: int) -> Path:
    """An output folder as a kill leaves it: a journal and thumbnails of so many bytes, half a record."""
    shutil.rmtree(out, ignore_errors=True)
    (out / ".work").mkdir(parents=True)
    for name, length in (("journal.jsonl", journal_bytes), ("thumbs.jsonl", thumbs_bytes)):
        (out / ".work" / name).write_bytes((whole / ".work" / name).read_bytes()[:length])
    (out / "record.json.part").write_text('{"record_version": 1, "prov')
    return out


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_run_cut_off_at_any_byte_ends_the_same(whole, smears, model, tmp_path, journal_share, thumbs_share):
    sizes = [(whole / ".work" / name).stat().st_size for name in ("journal.jsonl", "thumbs.jsonl")]
    out = cut(whole, tmp_path / "out", int(journal_share * sizes[0]), int(thumbs_share * sizes[1]))
    analyze([smears], out, model=model, resume=True)
    assert_same(out, whole)


def test_only_what_is_missing_is_analysed_again(whole, smears, model, tmp_path):
    lines = (whole / ".work" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    out = cut(whole, tmp_path / "out", sum(map(len, lines[:4])) + 7, 10**9)
    seen = []
    analyze([smears], out, model=model, resume=True, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, N_FIELDS), (5, N_FIELDS)]
    assert_same(out, whole)


def test_a_complete_run_may_be_resumed_and_stays(whole, smears, model, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "report.html").unlink()  # killed between the record and the report
    analyze([smears], out, model=model, resume=True)
    assert_same(out, whole)


def test_resume_of_nothing_is_a_new_run(whole, smears, model, tmp_path):
    analyze([smears], tmp_path / "out", model=model, resume=True)
    assert_same(tmp_path / "out", whole)


def test_a_used_folder_is_refused_without_resume(whole, smears, model):
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="holds a run already.*--resume"):
        analyze([smears], whole, model=model)
    assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before


def test_a_record_without_its_journal_is_refused(whole, smears, model, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    shutil.rmtree(out / ".work")
    with pytest.raises(InputError, match="without its journal"):
        analyze([smears], out, model=model, resume=True)


def test_another_runs_folder_is_refused_and_the_message_says_what_differs(whole, smears, model, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    other_card = make_model(tmp_path / "model", white_balance=True)  # the same ONNX files
    record = (out / "record.json").read_bytes()
    for paths, more, what in (
        (
            [smears],
            {"model": model, "options": AnalyzeOptions(min_cells=7)},
            r"with other options \(min_cells was \d+, is 7\);",
        ),
        (
            [smears],
            {"model": model, "options": AnalyzeOptions(um_per_px=0.1)},
            r"with other options \(um_per_px was None, is 0.1",
        ),
        ([smears / "0.png"], {"model": model}, "of other pictures; .*1.png and 3 more are not among the paths"),
        ([smears], {"model": other_card}, "with other models;"),
    ):
        with pytest.raises(InputError, match=f"holds a run {what}"):
            analyze(paths, out, resume=True, **more)
    assert (out / "record.json").read_bytes() == record


def test_the_number_of_workers_may_differ(whole, smears, model, tmp_path):
    out = cut(whole, tmp_path / "out", 2500, 10**9)
    analyze([smears], out, model=model, options=AnalyzeOptions(workers=1), resume=True)
    assert_same(out, whole)


def test_an_error_in_the_middle_keeps_what_was_done(whole, smears, model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        analyze([smears], tmp_path / "out", model=model, progress=stop_after(3))
    assert not (tmp_path / "out" / "record.json").exists()
    analyze([smears], tmp_path / "out", model=model, resume=True)
    assert_same(tmp_path / "out", whole)


KILLED = """
import sys, time
import leukoscope.pipeline.fields as fields
slow = fields.check_quality
fields.check_quality = lambda pixels: (time.sleep(0.05), slow(pixels))[1]
from leukoscope.pipeline import analyze
analyze([sys.argv[1]], sys.argv[2], model=sys.argv[3], resume=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_process_is_resumed(whole, smears, model, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(smears), str(out), str(model)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    journal = out / ".work" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        time.sleep(0.005)
    process.kill()
    assert process.wait() in (-signal.SIGKILL, 0)
    analyze([smears], out, model=model, resume=True)
    assert_same(out, whole)


def test_a_journal_holds_what_was_written(tmp_path):
    sources = [Source(name, FieldKey(name, "s", "p", "c", "blood")) for name in ("ä", "b")]
    entries = [{"file": s.file, "patient_id": "p"} for s in sources]
    journal = Journal(tmp_path / "work")
    journal.begin({"who": "me"}, sources)
    one, two, three = (CellPicture(name, 40, large=False, model=b"seen") for name in (b"one", b"two", b"three"))
    journal.write([entries[0]], [[one, two]], ["look"])
    journal.write([entries[1], entries[1]], [[], [three]], [None, None])  # a file of two pages
    journal.close()
    assert list(journal.fields()) == [entries[0], entries[1], entries[1]]
    lines = [json.loads(line) for line in journal.thumbs_path.read_text().splitlines()]
    assert [(t["field"], t["cell"]) for t in lines] == [(0, 0), (0, 1), (2, 0)]
    assert [base64.b64decode(t["jpeg"]) for t in lines] == [b"one", b"two", b"three"]
    assert {base64.b64decode(t["model"]) for t in lines} == {b"seen"} and {t["px"] for t in lines} == {40}
    again = Journal(tmp_path / "work")
    with pytest.raises(LeukoscopeError, match="other who"):
        again.check_head({"who": "you"})
    again.check_head({"who": "me"})
    assert again.sources() == sources
    again.go_on(sources)
    assert (again.n_sources, again.n_fields) == (2, 3)
    again.close()


def test_a_run_that_was_begun_before_lines_had_checksums_goes_on(whole, smears, model, tmp_path):
    out = cut(whole, tmp_path / "old", 10**9, 10**9)
    journal = out / ".work" / "journal.jsonl"
    first, *lines = journal.read_bytes().splitlines(keepends=True)
    head = json.loads(first) | {"journal_version": 2}
    del head["slides_sha256"]
    old = [json.dumps(head, separators=(",", ":")).encode() + b"\n", *(b"{" + ln.partition(b",")[2] for ln in lines)]
    journal.write_bytes(b"".join(old[:3]))
    analyze([smears], out, model=model, resume=True)
    assert (out / "record.json").read_bytes() == (whole / "record.json").read_bytes()
    assert journal.read_bytes() == b"".join(old)  # as it began


def test_lines_of_other_photographs_and_spoilt_thumbnails_are_done_again(whole, smears, model, tmp_path):
    """As two runs at once left them (74 lines of 40 photographs), and as a power failure does."""
    lines = (whole / ".work" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    out = cut(whole, tmp_path / "twice", 10**9, 10**9)
    (out / ".work" / "journal.jsonl").write_bytes(b"".join([*lines[:3], *lines[2:]]))
    analyze([smears], out, model=model, resume=True)
    assert_same(out, whole)
    out = cut(whole, tmp_path / "spoilt", 10**9, 10**9)
    thumbs = bytearray((out / ".work" / "thumbs.jsonl").read_bytes())
    thumbs[200:300] = bytes(100)
    (out / ".work" / "thumbs.jsonl").write_bytes(thumbs)
    analyze([smears], out, model=model, resume=True)
    assert_same(out, whole)


def started(smears: Path, model: Path, folder: Path, n_done: int) -> tuple[Path, Path]:
    """A copy of the smears, and a run over it that was stopped after so many photographs."""
    shutil.copytree(smears, folder / "in")

    with pytest.raises(KeyboardInterrupt):
        analyze([folder / "in"], folder / "out", model=model, progress=stop_after(n_done))
    return folder / "in", folder / "out"


def test_a_file_that_changed_at_equal_size_is_noticed_and_named(smears, model, tmp_path):
    pictures, out = started(smears, model, tmp_path, 3)
    data = (pictures / "1.png").read_bytes()
    (pictures / "1.png").write_bytes(data[:-1] + b"!")
    with pytest.raises(InputError, match=r"1\.png is not what was analysed"):
        analyze([pictures], out, model=model, resume=True)
    (pictures / "1.png").write_bytes(data)
    analyze([pictures], out, model=model, resume=True)


def test_a_photograph_that_vanished_stays_in_the_run_and_may_come_back(smears, model, tmp_path):
    pictures, out = started(smears, model, tmp_path, 2)
    shutil.move(pictures / "0.png", tmp_path / "0.png")  # analysed already: its entry stands
    shutil.move(pictures / "4.png", tmp_path / "4.png")
    analyze([pictures], out, model=model, resume=True)
    fields = json.loads((out / "record.json").read_text())["fields"]
    assert fields[0]["status"] != "failed"
    assert (fields[4]["status"], fields[4]["reason"], fields[4]["sha256"]) == ("failed", "missing", None)
    shutil.move(tmp_path / "4.png", pictures / "4.png")
    analyze([pictures], out, model=model, resume=True)
    assert json.loads((out / "record.json").read_text())["fields"][4]["status"] != "failed"
    (pictures / "5.png").write_bytes((pictures / "4.png").read_bytes())
    with pytest.raises(InputError, match=r"5\.png is not in the run"):
        analyze([pictures], out, model=model, resume=True)


def test_the_cells_are_of_the_bytes_that_the_digest_is_of(smears, model, tmp_path, monkeypatch):
    """A camera or a sync client replaces the file while it is read."""
    shutil.copytree(smears, tmp_path / "in")
    first = (tmp_path / "in" / "0.png").read_bytes()
    real = stored.sniff_format

    def replaced(head):
        (tmp_path / "in" / "0.png").unlink(missing_ok=True)
        (tmp_path / "in" / "0.png").write_bytes((smears / "1.png").read_bytes())
        return real(head)

    monkeypatch.setattr(stored, "sniff_format", replaced)
    record = analyze([tmp_path / "in" / "0.png"], tmp_path / "out", model=model)
    monkeypatch.undo()
    (field,) = json.loads(record.read_text())["fields"]
    (tmp_path / "in" / "0.png").write_bytes(first)
    (alone,) = json.loads(analyze([tmp_path / "in" / "0.png"], tmp_path / "alone", model=model).read_text())["fields"]
    assert field == alone and field["sha256"] == hashlib.sha256(first).hexdigest()


def test_two_runs_at_once_are_one_run_and_a_refusal(whole, smears, model, tmp_path):
    out, seen = tmp_path / "out", []

    def second(done, total):
        if not seen:
            with pytest.raises(InputError, match=rf"in use by another run \(process {os.getpid()} on "):
                analyze([smears], out, model=model, resume=True)
            seen.append(done)

    analyze([smears], out, model=model, progress=second)
    assert seen
    assert_same(out, whole)

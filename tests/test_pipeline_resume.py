"""A run that was killed at any moment and resumed leaves the very files of one that was not."""

from __future__ import annotations

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.errors import InputError, LeukoscopeError
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline.journal import Journal

OUTPUTS = ("record.json", "cells.csv", "report.html", ".work/journal.jsonl", ".work/thumbs.jsonl")
N_FIELDS = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


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
        ([smears], {"model": model, "options": AnalyzeOptions(min_cells=7)}, "options"),
        ([smears], {"model": model, "options": AnalyzeOptions(um_per_px=0.1)}, "options"),
        ([smears / "0.png"], {"model": model}, "pictures"),
        ([smears], {"model": other_card}, "models"),
    ):
        with pytest.raises(InputError, match=f"holds a run with other {what};"):
            analyze(paths, out, resume=True, **more)
    assert (out / "record.json").read_bytes() == record


def test_the_number_of_workers_may_differ(whole, smears, model, tmp_path):
    out = cut(whole, tmp_path / "out", 2500, 10**9)
    analyze([smears], out, model=model, options=AnalyzeOptions(workers=1), resume=True)
    assert_same(out, whole)


def test_an_error_in_the_middle_keeps_what_was_done(whole, smears, model, tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze([smears], tmp_path / "out", model=model, progress=stop)
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
    journal = Journal(tmp_path / "work")
    journal.begin({"who": "me"})
    journal.write({"file": "ä"}, [b"one", b"two"])
    journal.write({"file": "b"}, [])
    journal.close()
    assert list(journal.fields()) == [{"file": "ä"}, {"file": "b"}]
    lines = [json.loads(line) for line in journal.thumbs_path.read_text().splitlines()]
    assert [(t["field"], t["cell"]) for t in lines] == [(0, 0), (0, 1)]
    again = Journal(tmp_path / "work")
    with pytest.raises(LeukoscopeError, match="other who"):
        again.go_on({"who": "you"})
    again.go_on({"who": "me"})
    assert again.n_fields == 2
    again.close()

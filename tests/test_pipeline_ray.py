"""Analysis on Ray: the same bytes as one process, whoever is killed; one small cluster for all tests."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import draw_field, noisy_smears, scatter_cells
from data.make_slide import make_slide
from data.stopping import stop_after

from leukoscope.cli import main
from leukoscope.errors import InputError
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline import on_ray as engine
from leukoscope.pipeline import parts as parting
from leukoscope.pipeline import slides as planning
from leukoscope.pipeline.parts import MOST, cut_parts
from leukoscope.pipeline.sources import Source
from leukoscope.report import read_record
from leukoscope.types import FieldKey

ray = pytest.importorskip("ray")
# Where Ray could not start, what it had started is still running when its handles are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
OUTPUTS = ("record.json", "cells.csv", "patients.csv", "report.html", ".work/thumbs.jsonl", ".work/journal.jsonl")


@pytest.fixture(scope="module")
def smears(tmp_path_factory) -> Path:
    """Three patients of four photographs, one of which can't be read."""
    folder = noisy_smears(tmp_path_factory.mktemp("smears"), {f"patient{n}": 4 for n in range(3)})
    broken = folder / "patient2" / "11.png"
    broken.write_bytes(broken.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def whole(smears, model, tmp_path_factory) -> Path:
    return analyze([smears], tmp_path_factory.mktemp("threads") / "out", model=model).parent


@pytest.fixture(scope="module")
def cluster():
    """One worker of one core; it lives for all tests of this file. Ray gives its own processes 30 seconds to start, and
    that can't be changed: a machine too busy for that, three times in a row, has no cluster to test with."""
    cluster = engine._cluster(None, 1)
    try:
        cluster.__enter__()
    except InputError as error:
        assert "Ray does not start on this machine" in str(error)
        pytest.skip(str(error))
    yield
    cluster.__exit__(None, None, None)


ON_RAY = AnalyzeOptions(engine="ray")


def assert_same(out: Path, whole: Path) -> None:
    for name in OUTPUTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (out / ".work" / "patients").exists()


def test_ray_writes_the_bytes_of_one_process(cluster, smears, model, whole, tmp_path):
    assert_same(analyze([smears], tmp_path / "out", model=model, options=ON_RAY).parent, whole)


def test_a_driver_that_stopped_goes_on_with_either_engine(cluster, smears, model, whole, tmp_path):
    for first, second in ((ON_RAY, None), (None, ON_RAY)):
        out = tmp_path / f"{first is None}"
        with pytest.raises(KeyboardInterrupt):
            analyze([smears], out, model=model, options=first, progress=stop_after(2))
        assert_same(analyze([smears], out, model=model, options=second, resume=True).parent, whole)


def test_a_worker_that_is_killed_costs_time_only(cluster, smears, model, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "run_part", _killed_once)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker can't import a test
    (tmp_path / "0000001").touch()
    assert_same(analyze([smears], tmp_path / "out", model=model, options=ON_RAY).parent, whole)


def _killed_once(folder, head, sources, first, setup):
    """`run_part` whose process dies at its second photograph, the first time."""
    from leukoscope.pipeline import on_ray, parts

    mark = Path(folder).parents[2].parent / Path(folder).name
    analyzer = on_ray._analyzer(setup)
    if mark.exists():
        mark.unlink()

        def dies(source, ruler):
            if source.file == sources[1].file:
                os.kill(os.getpid(), signal.SIGKILL)
            return analyzer(source, ruler)

        dies.rooms = analyzer.rooms
        parts.do_part(Path(folder), head, sources, first, dies)
    parts.do_part(Path(folder), head, sources, first, analyzer)
    return len(sources)


def test_a_photograph_that_ends_every_worker_is_named(cluster, smears, model, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(engine, "run_part", _killed_always)
    monkeypatch.setattr(engine, "MOST_CRASHES", 0)
    with pytest.raises(InputError, match=r"workers died again and again at .*patient0/0.png of patient patient0"):
        analyze([smears], tmp_path / "out", model=model, options=ON_RAY)


def _killed_always(folder, head, sources, first, setup):
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_worker_says_is_said_by_the_driver(cluster, smears, model, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.leukoscope, "__version__", "0.0.1")
    with pytest.raises(InputError, match="a node has Leukoscope .* and the driver 0.0.1: install the same on all"):
        options = {"models": {}, "um_per_px": None, "tile_px": None}
        setup = engine.Setup((), None, None, os.getcwd(), version="0.0.1")
        key = FieldKey("a", "s", "p", "c", "blood")
        list(engine.on_ray([Source("a", key)], {("p", "s"): []}, work=tmp_path, head=options, setup=setup))


def test_parts_are_of_one_patient_and_hold_all_photographs_once():
    names = ["anna"] * (MOST + 3) + ["bert", "anna", "bert"]
    sources = [Source(str(n), FieldKey(str(n), who, who, "c", "blood")) for n, who in enumerate(names)]
    parts = cut_parts(sources)
    assert sorted(row for part in parts for row in part.rows) == list(range(len(names)))
    assert [len(part.rows) for part in parts] == [MOST, 4, 2]
    assert all(len({names[row] for row in part.rows}) == 1 for part in parts)


def test_one_slide_is_many_parts_and_gives_the_bytes_of_one_process(cluster, model, tmp_path, monkeypatch):
    cells = scatter_cells(np.random.default_rng(3), 700, 900, 20, apart=75)
    make_slide(tmp_path / "anna" / "a.svs", draw_field(700, 900, cells), um_per_px=0.5)
    given, whole = [], AnalyzeOptions(um_per_px=0.5, whole=True, tile_px=256)
    monkeypatch.setattr(planning, "_MOST_REGION", 256)
    monkeypatch.setattr(parting, "MOST_PIXELS", 300_000)
    wanted = analyze([tmp_path / "anna"], tmp_path / "whole", model=model, options=whole).parent
    monkeypatch.setattr(engine, "cut_parts", lambda sources: given.append(cut_parts(sources)) or given[-1])
    out = analyze([tmp_path / "anna"], tmp_path / "out", model=model, options=replace(whole, engine="ray")).parent
    n_regions = read_record(out / "record.json").slides[0]["n_regions"]
    assert sum(len(p.rows) for p in given[0]) == n_regions
    assert n_regions > len(given[0]) > n_regions / 3  # a region of these has up to 126,736 px with its halo
    assert_same(out, wanted)


def test_without_ray_one_line_says_how_to_get_it(smears, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["analyze", str(smears), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main([*words, "--engine", "ray"]) == 2
    assert "pip install 'leukoscope[ray]'" in capsys.readouterr().err
    assert main([*words, "--address", "auto"]) == 2 and "needs the engine ray" in capsys.readouterr().err

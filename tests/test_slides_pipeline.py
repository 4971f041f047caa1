"""Slides through `analyze`: each cell once whatever border it lies on, the same from TIFF and DICOM, resumed alike."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import draw_field, scatter_cells
from data.make_slide import make_slide, make_stitched

from leukoscope.cli.analyze import slide_line
from leukoscope.errors import InputError
from leukoscope.images.slides import names as slide_names
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline import slides as planning
from leukoscope.pipeline.ownership import Borders
from leukoscope.pipeline.sources import Source
from leukoscope.report import counted_cells, read_record
from leukoscope.types import FieldKey

HEIGHT, WIDTH, N_CELLS = 1100, 1500, 75
WHOLE = AnalyzeOptions(um_per_px=0.5, whole=True, tile_px=256, workers=2)


@pytest.fixture(scope="module")
def cells() -> list:
    """Discs all over, some on borders of regions and some on corners."""
    found = scatter_cells(np.random.default_rng(3), HEIGHT, WIDTH, N_CELLS, apart=75)
    corners = [(256.0 * i + dx, 256.0 * j + dy, "lymphocyte") for i, j, dx, dy in ((2, 2, 0, 0), (4, 3, 0.6, -0.7))]
    apart = [c for c in found if all(np.hypot(c[0] - x, c[1] - y) > 75 for x, y, _ in corners)]
    return corners + apart


@pytest.fixture(scope="module")
def pixels(cells) -> np.ndarray:
    noise = np.random.default_rng(1).integers(-4, 5, (HEIGHT, WIDTH, 1))
    return np.clip(draw_field(HEIGHT, WIDTH, cells).astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def run(pixels, model, tmp_path_factory) -> Path:
    """A slide of discs, analysed in regions of 256 px, so that many cells lie on borders."""
    folder = tmp_path_factory.mktemp("slide")
    make_slide(folder / "anna" / "a.svs", pixels, um_per_px=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_MOST_REGION", 256)
        return analyze([folder / "anna"], folder / "out", model=model, options=WHOLE).parent


def found_on_slide(record: Path) -> list[tuple[float, float, str]]:
    """Middle in px of the slide, and class, of every cell that counts."""
    found = []
    for field in read_record(record).fields():
        x, y = field["region"]["box"][:2]
        for cell in counted_cells(field):
            box = cell["box"]
            found.append((x + (box[0] + box[2]) / 2, y + (box[1] + box[3]) / 2, cell["class"]))
    return found


def assert_each_once(found, cells) -> None:
    places = np.array([f[:2] for f in found])
    hits = [np.flatnonzero(np.hypot(*(places - (x, y)).T) < 15) for x, y, _ in cells]
    assert [len(h) for h in hits] == [1] * len(cells)
    assert [found[h[0]][2] for h in hits] == [name for _, _, name in cells]
    assert len(found) == len(cells)


def test_each_cell_is_counted_once(run, cells):
    fields = list(read_record(run / "record.json").fields())
    assert len(fields) > 20
    assert_each_once(found_on_slide(run / "record.json"), cells)
    borders = np.arange(256, WIDTH, 256)
    on_border = [c for c in cells if np.abs(borders - c[0]).min() < 12 or np.abs(borders - c[1]).min() < 12]
    assert len(on_border) >= 10
    assert sum("same_as" in c for f in fields for c in f["cells"]) >= 3  # both sides saw these


def test_the_record_says_what_was_counted_and_the_table_where(run, cells):
    record = read_record(run / "record.json")
    (slide,) = record.slides
    assert (slide["reader"], slide["width"], slide["height"], slide["whole"]) == ("openslide", WIDTH, HEIGHT, True)
    assert len(slide["map"]) == -(-HEIGHT // slide["tile_px"]) and set("".join(slide["map"])) <= set("M.")
    field = next(record.fields())
    assert field["region"]["plane"] == 0 and field["scale_from"] == "stated"
    (patient,) = record.patients
    assert patient["n_cells"] == len(cells) and "same_cells" not in [f["code"] for f in patient["flags"]]
    with open(run / "cells.csv", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    counted = [r for r in rows if r["counts"] == "1"]
    assert len(counted) == len(cells)
    assert_each_once(
        [
            (
                float(r["region_x"]) + (float(r["x0"]) + float(r["x1"])) / 2,
                float(r["region_y"]) + (float(r["y0"]) + float(r["y1"])) / 2,
                r["class"],
            )
            for r in counted
        ],
        cells,
    )
    report = (run / "report.html").read_text("utf-8")
    assert "fields/" in report and "Where on the slide" in report
    assert report.count('<rect class="vM"') >= len(slide["map"]) and "monolayer, counted" in report
    assert '<image href="data:image/jpeg;base64,' in report


def test_the_scale_of_the_file_is_used_and_said(pixels, model, tmp_path):
    make_slide(tmp_path / "a.svs", pixels[:600, :600], um_per_px=0.4)
    options = AnalyzeOptions(whole=True, workers=1)
    field = next(read_record(analyze([tmp_path / "a.svs"], tmp_path / "out", model=model, options=options)).fields())
    assert (field["um_per_px"], field["scale_from"]) == (0.4, "file")
    make_slide(tmp_path / "b.svs", pixels[:600, :600], um_per_px=None)
    field = next(read_record(analyze([tmp_path / "b.svs"], tmp_path / "out2", model=model, options=options)).fields())
    assert field["scale_from"] in (None, "red_cells")


def test_a_stopped_run_goes_on_region_by_region(run, pixels, model, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_MOST_REGION", 256)
    shutil.copytree(run, tmp_path / "out")
    journal = tmp_path / "out" / ".work" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:12]) + lines[12][:40])
    for name in ("record.json", "cells.csv"):
        (tmp_path / "out" / name).unlink()
    slide = run.parent / "anna"

    def must_not(*args, **more):
        raise AssertionError("a run is planned once")

    monkeypatch.setattr(planning, "survey", must_not)
    analyze([slide], tmp_path / "out", model=model, options=WHOLE, resume=True)
    assert (tmp_path / "out" / "record.json").read_bytes() == (run / "record.json").read_bytes()
    assert (tmp_path / "out" / "cells.csv").read_bytes() == (run / "cells.csv").read_bytes()


def test_a_changed_slide_is_not_gone_on_with(pixels, model, tmp_path):
    path = make_slide(tmp_path / "in" / "a.svs", pixels[:600, :600])
    analyze([path], tmp_path / "out", model=model, options=WHOLE)
    make_slide(path, pixels[600:1200, :600])
    with pytest.raises(InputError, match="changed since"):
        analyze([path], tmp_path / "out", model=model, options=WHOLE, resume=True)


def test_a_slide_that_fails_is_listed_with_its_reason(pixels, model, tmp_path):
    make_slide(tmp_path / "in" / "a.svs", pixels[:600, :600])
    (tmp_path / "in" / "b.ndpi").write_bytes((tmp_path / "in" / "a.svs").read_bytes()[:3000])
    (tmp_path / "in" / "c.dzi").write_text("<Image/>")
    (tmp_path / "in" / "d.mrxs").write_bytes(b"\xff\xd8\xff\xe0 no folder beside")
    fields = list(read_record(analyze([tmp_path / "in"], tmp_path / "out", model=model, options=WHOLE)).fields())
    failed = {Path(f["file"]).name: f for f in fields if f["status"] == "failed"}
    assert set(failed) == {"b.ndpi", "c.dzi", "d.mrxs"}
    assert all(f["reason"] in ("unsupported", "damaged", "truncated") for f in failed.values())
    assert any(f["status"] != "failed" for f in fields)


def test_a_files_scale_that_red_cells_contradict_is_a_warning():
    said = {"file": "a.svs", "um_per_px": 0.5, "red_cell_px": 28.0, "mm2": {"M": 2.0, "T": 3.0}, "n_regions": 5}
    assert "warning" in slide_line(said) and "14.0 µm wide" in slide_line(said)
    assert "warning" not in slide_line(said | {"um_per_px": 0.25}) and "2 of 5 mm²" in slide_line(said)
    assert "states no" in slide_line(said | {"um_per_px": None})


def test_where_nothing_can_be_counted_it_is_said_with_what_to_do(model, tmp_path):
    glass = np.full((1200, 1200, 3), 240, np.uint8)
    make_slide(tmp_path / "a.svs", glass)
    (field,) = read_record(analyze([tmp_path / "a.svs"], tmp_path / "out", model=model)).fields()
    assert field["reason"] == "no_monolayer" and "--whole" in field["detail"]


def test_looking_over_a_slide_shows_progress(pixels, tmp_path):
    path = str(make_slide(tmp_path / "a.svs", pixels[:600, :600]))
    said = []
    source = Source(path, FieldKey(path, "s", "p", "c", "blood"))
    planning.plan_slides([source], 0.25, whole=False, progress=lambda done, total: said.append((done, total)))
    assert said == sorted(said) and (not said or said[-1][0] == said[-1][1])


def test_several_slides_are_looked_over_at_once_and_planned_as_one_by_one(pixels, tmp_path, monkeypatch):
    paths = [str(make_slide(tmp_path / f"{name}.svs", pixels[:600, : 600 + 64 * n])) for n, name in enumerate("abc")]
    paths.insert(1, str(tmp_path / "photograph.png"))
    Path(paths[1]).write_bytes(b"?")
    sources = [Source(path, FieldKey(path, "s", "p", "c", "blood")) for path in paths]
    one_by_one = planning.plan_slides(sources, 0.5, whole=True)
    plan, all_here, said = planning._plan, threading.Barrier(3, timeout=30), []

    def together(*args, **more):
        all_here.wait()
        return plan(*args, **more)

    monkeypatch.setattr(planning, "_plan", together)
    at_once = planning.plan_slides(sources, 0.5, whole=True, workers=3, progress=lambda *n: said.append(n))
    assert at_once[0] == one_by_one[0] and sources[1] in at_once[0] and len(at_once[0]) > 6
    assert [p.said for p in at_once[1]] == [p.said for p in one_by_one[1]] and said == [(1, 3), (2, 3), (3, 3)]


def test_a_slide_given_twice_counts_once(pixels, model, tmp_path):
    make_slide(tmp_path / "in" / "a.svs", pixels[:600, :600])
    shutil.copy(tmp_path / "in" / "a.svs", tmp_path / "in" / "b.svs")
    record = read_record(analyze([tmp_path / "in"], tmp_path / "out", model=model, options=WHOLE))
    one = read_record(analyze([tmp_path / "in" / "a.svs"], tmp_path / "one", model=model, options=WHOLE))
    assert record.patients[0]["n_cells"] == one.patients[0]["n_cells"] > 0
    assert record.patients[0]["n_repeated"] == one.slides[0]["n_regions"]


def test_a_stitched_photograph_goes_the_same_way(pixels, cells, model, tmp_path, monkeypatch):
    monkeypatch.setattr(slide_names, "MOST_PHOTOGRAPH", 1_000_000)
    path = make_stitched(tmp_path / "stitched.tif", pixels)
    record = analyze([path], tmp_path / "out", model=model, options=WHOLE)
    assert read_record(record).slides[0]["reader"] == "tifffile"
    assert_each_once(found_on_slide(record), cells)


def test_no_label_comes_out(model, tmp_path):
    from leukoscope.simulate.slide import SlideOptions
    from leukoscope.simulate.slide_files import simulate_slide

    simulate_slide(tmp_path / "s", SlideOptions(1500, 1000, 2))
    options = AnalyzeOptions(whole=True, workers=2)
    fields = {}
    for name, path in (("tiff", tmp_path / "s" / "slide.tif"), ("dicom", tmp_path / "s" / "dicom")):
        if name == "tiff":
            path = path.rename(tmp_path / "s" / "slide.svs")
        record = analyze([path], tmp_path / name, model=model, options=options)
        fields[name] = list(read_record(record).fields())
        for file in (tmp_path / name).rglob("*"):
            assert file.is_dir() or b"Planted" not in file.read_bytes()
    ours = ("file", "sha256", "patient_id", "smear_id")
    both = [[{k: v for k, v in f.items() if k not in ours} for f in fields[name]] for name in ("tiff", "dicom")]
    assert json.dumps(both[0]) == json.dumps(both[1])  # the same record from either, but for the names


def region(core, boxes, place=None) -> dict:
    return {"region": {"core": core, "box": [0, 0, 400, 400]}, "cells": [{"box": b} for b in boxes]}


def test_a_cell_on_a_corner_is_one_of_four(monkeypatch):
    """Four regions see a cell at their common corner, each a pixel elsewhere: one counts, in its own core."""
    borders = Borders()
    cores = [[0, 0, 200, 200], [200, 0, 400, 200], [0, 200, 200, 400], [200, 200, 400, 400]]
    for place, core in enumerate(cores):
        shift = place % 2 - 0.4
        borders.add(place, region(core, [[190 + shift, 190 + shift, 210 + shift, 211 + shift]]))
    twice = list(borders.twice())
    assert len(twice) == 3 and len({kept.place for kept, _ in twice}) == 1


def test_neighbours_that_touch_at_a_border_are_two():
    borders = Borders()
    borders.add(0, region([0, 0, 200, 200], [[182, 90, 202, 110]]))
    borders.add(1, region([200, 0, 400, 200], [[199, 90, 219, 110]]))
    assert not list(borders.twice())

"""Rendered cohorts: one seed, the same bytes; exact outlines, consistent truth, centres that differ, no easy task."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leukoscope.cli import main
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import InputError
from leukoscope.geometry import contour_area, contour_box
from leukoscope.simulate import CohortOptions, simulate_cohort
from leukoscope.simulate.background import lay
from leukoscope.simulate.camera import photograph
from leukoscope.simulate.cell import choose_clone
from leukoscope.simulate.disease import NOT_COUNTED, TAXONOMY_OF, plan_patients
from leukoscope.simulate.look import choose_centers, patient_look
from leukoscope.simulate.outline import visible_outline
from leukoscope.simulate.placing import OVERLAP, Ground, place_cells
from leukoscope.simulate.shapes import ANGLES, N_ANGLES
from leukoscope.simulate.white_cells import DRAW
from leukoscope.taxonomy import MARROW_16, PCM_9

BLOOD = CohortOptions("blood", patients=2, centers=2, seed=4, fields_per_patient=1, cells_per_field=(24, 28))
MARROW = CohortOptions("marrow", patients=2, centers=2, seed=5, fields_per_patient=1, cells_per_field=(36, 40))


@pytest.fixture(scope="module")
def blood(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("blood"), BLOOD)


@pytest.fixture(scope="module")
def marrow(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("marrow"), MARROW)


@pytest.fixture(params=["blood", "marrow"])
def cohort(request):
    return request.getfixturevalue(request.param)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def table(file):
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def test_the_same_options_draw_the_same_bytes(tmp_path, blood):
    assert files_of(simulate_cohort(tmp_path / "again", BLOOD)) == files_of(blood)


def test_outlines_are_simple_polygons_inside_the_field(cohort):
    dataset = read_dataset(cohort)
    cells = [(field, cell) for field in dataset.fields for cell in field.cells]
    assert len(cells) > 30
    for field, cell in cells:
        contour = np.array(cell.contour)
        assert contour_area(contour) > 20
        assert (contour >= 0).all() and (contour <= (field.width, field.height)).all()
        assert np.allclose(contour_box(contour), cell.box, atol=1e-6)
        assert not crosses_itself(contour)
    for field in dataset.fields:
        with Image.open(dataset.path(field)) as image:
            assert image.size == (field.width, field.height)


def crosses_itself(contour):
    """Two sides of a polygon that aren't neighbours properly cross."""
    a, b = contour, np.roll(contour, -1, axis=0)

    def side(p, q, r):  # which side of p-q is r on
        along, across = q - p, r - p
        return np.sign(along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0])

    p, q, r, s = a[:, None], b[:, None], a[None], b[None]
    return bool(((side(p, q, r) * side(p, q, s) < 0) & (side(r, s, p) * side(r, s, q) < 0)).any())


def test_crossing_polygons_would_be_noticed():
    assert crosses_itself(np.array([(0, 0), (2, 2), (2, 0), (0, 2)], float))
    assert not crosses_itself(np.array([(0, 0), (2, 0), (2, 2), (0, 2)], float))


def test_a_covered_cell_has_the_outline_that_is_seen():
    radius, apart = 50.0, 84.0
    circle = np.full(N_ANGLES, radius)
    seen = visible_outline(circle, np.array([100.0, 100.0]), [(circle, np.array([100.0 + apart, 100.0]))], (300, 200))
    y, x = np.mgrid[:200, :300] + 0.5
    truth = (np.hypot(x - 100, y - 100) < radius) & (np.hypot(x - 100 - apart, y - 100) >= radius)
    assert contour_area(seen) == pytest.approx(truth.sum(), rel=0.01)
    assert np.hypot(*(seen - (100 + apart, 100)).T).min() > radius - 0.5  # never over the cell above


def test_cells_touch_and_none_hides_anothers_middle():
    rng = np.random.default_rng(3)
    radii = [np.full(N_ANGLES, r) for r in rng.uniform(40, 100, 30)]
    places = place_cells(rng, radii, [False] * 30, Ground((1500, 1200), 0, 0), touching=0.6)
    kept = [(p, r.mean()) for p, r in zip(places, radii, strict=True) if p is not None]
    gaps = [np.hypot(*(p - q)) / (r + s) for k, (p, r) in enumerate(kept) for q, s in kept[k + 1 :]]
    assert len(kept) > 20 and min(gaps) >= OVERLAP and sum(g < 1 for g in gaps) >= 5


def test_ratios_and_diagnoses_follow_from_the_cells(cohort):
    truth = json.loads((cohort / "truth.json").read_text("utf-8"))
    taxonomy = TAXONOMY_OF[truth["specimen"]]
    drawn = {}
    for field in read_dataset(cohort).fields:
        drawn.setdefault(field.key.patient_id, Counter()).update(c.class_name for c in field.cells)
    for patient in truth["patients"]:
        counts = drawn[patient["patient_id"]]
        n_counted = sum(counts[n] for n in taxonomy.counted)
        assert patient["counts"] == dict(counts) and patient["n_counted"] == n_counted
        assert patient["blast_ratio"] == sum(counts[n] for n in taxonomy.blasts) / n_counted
        myeloid = sum(counts[n] for n in taxonomy.blasts if n != "lymphoblast") / n_counted
        assert patient["diagnosis"] == ("AML" if myeloid >= 0.2 else "not-AML")
        if truth["specimen"] == "marrow":
            assert patient["cblc_ratio"] == sum(counts[n] for n in taxonomy.composites["cblc"]) / n_counted


@pytest.mark.parametrize(("specimen", "taxonomy"), [("blood", PCM_9), ("marrow", MARROW_16)])
def test_a_cohort_spreads_over_ratios_classes_and_centres(specimen, taxonomy):
    options = CohortOptions(specimen, patients=40, centers=4, seed=1)
    plan = plan_patients(np.random.default_rng(1), options)
    assert [p.patient_id for p in plan] == [f"rendered-{specimen}-1-{k + 1:03d}" for k in range(40)]
    cells = Counter(c for p in plan for field in p.fields for c, _ in field)
    assert set(cells) == set(taxonomy.names)
    ratios = np.array([ratio_of(p, taxonomy) for p in plan])
    assert ratios.min() < 0.03 and ratios.max() > 0.85 and np.diff(np.sort(ratios)).max() < 0.12
    for center in range(4):
        own = ratios[[p.center == center for p in plan]]
        assert len(own) == 10 and (own < 0.2).any() and (own > 0.5).any()  # no centre gives the diagnosis away


@pytest.mark.parametrize(("specimen", "taxonomy"), [("blood", PCM_9), ("marrow", MARROW_16)])
def test_a_cohort_near_the_line_is_hard_to_tell_apart(specimen, taxonomy):
    options = CohortOptions(specimen, patients=40, centers=4, seed=1, near_line=True)
    plan = plan_patients(np.random.default_rng(1), options)
    ratios = np.array([ratio_of(p, taxonomy) for p in plan])
    assert 0.06 < ratios.min() and ratios.max() < 0.4 and (abs(ratios - 0.2) < 0.05).sum() >= 13
    assert plan[0].patient_id == f"rendered-{specimen}-1-near-line-001"  # no patient of the usual cohort


def ratio_of(patient, taxonomy):
    names = [c for field in patient.fields for c, drawing in field if drawing not in NOT_COUNTED]
    return sum(n in taxonomy.blasts for n in names) / len(names)


def test_everything_says_that_it_is_rendered(cohort):
    head = json.loads((cohort / "dataset.json").read_text("utf-8"))
    assert "drawings" in head["citation"] and head["licence"] == "Apache-2.0" and head["source_format"] == "simulate"
    for path in cohort.rglob("*.jpg"):
        assert path.name.startswith("rendered_")
        with Image.open(path) as image:
            assert b"not photographs" in image.info["comment"]
            corner = np.asarray(image)[:26, :108].mean(2)
            assert (corner > 200).mean() > 0.5 and (corner < 150).mean() > 0.08  # the strip and its letters


def test_the_tables_name_every_picture_and_every_cell(cohort):
    dataset = read_dataset(cohort)
    rows = table(cohort / "patients.csv")
    assert [r["file"] for r in rows] == [f.file for f in dataset.fields]
    assert all(r["diagnosis"] in ("AML", "not-AML") and 0 <= float(r["blast_ratio"]) <= 1 for r in rows)
    cells = table(cohort / "cells.csv")
    listed = [(f.file, str(k), c.class_name) for f in dataset.fields for k, c in enumerate(f.cells)]
    assert [(r["file"], r["cell"], r["class"]) for r in cells] == listed
    assert all(0.1 < float(r["visible"]) <= 1 for r in cells)


def test_smudges_are_other_in_blood_and_unlisted_in_marrow(blood, marrow):
    drawn = {r["drawn_as"]: r["class"] for r in table(blood / "cells.csv") if r["drawn_as"] in NOT_COUNTED}
    assert len(drawn) >= 2 and set(drawn.values()) == {"other"}
    assert not set(NOT_COUNTED) & {r["drawn_as"] for r in table(marrow / "cells.csv")}


def test_the_cvat_project_reads_back_as_the_same_set(tmp_path, cohort):
    import_dataset("cvat", cohort / "cvat", tmp_path)
    ours, theirs = read_dataset(cohort), read_dataset(tmp_path)
    assert [replace(f, file="") for f in theirs.fields] == [replace(f, file="") for f in ours.fields]


def statistics(pixels):
    """Of a picture with a cell in its middle: darkness of its nucleus, red against blue, and sharpness."""
    height, width = pixels.shape[:2]
    middle = pixels[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5].reshape(-1, 3)
    density = -np.log((middle.mean(0) + 1) / 256)
    around = pixels[40:].astype(float).mean(2)
    steps = np.abs(np.diff(around[:, ::2], axis=1))
    return density.mean(), density[0] - density[2], np.quantile(steps, 0.97)


def test_centres_differ_more_than_their_patients():
    rng = np.random.default_rng(8)
    cell = DRAW["myeloblast"](np.random.default_rng(1))
    rows = []
    for center in choose_centers(rng, 6, specimen="marrow"):
        for _ in range(4):
            stain = np.zeros((260, 260, 3), np.float32)
            lay(stain, cell, np.array([130, 130]), hides=0.0)
            side = round(260 / (center.um_per_px * 10))
            look = replace(patient_look(rng, center), width=side, height=side)
            rows.append(statistics(photograph(rng, look, stain)))
    values = np.array(rows).reshape(6, 4, 3)
    between, within = values.mean(1).std(0, ddof=1), values.std(1, ddof=1).mean(0)
    assert (between > 1.5 * within).all(), (between, within)
    scales = [c.um_per_px for c in choose_centers(rng, 6, specimen="blood")]
    assert len(set(scales)) == 6 and max(scales) > 1.25 * min(scales)


def nucleus_area(drawn):
    """Dark pixels, as a threshold would find them."""
    return float((np.exp(-drawn.density[..., 1]) < 0.45).sum())


def nucleus_darkness(drawn):
    """Typical optical density of the dark pixels, in green."""
    green = drawn.density[..., 1]
    return float(np.median(green[green > 0.8]))


def best_balanced_accuracy(values, truth):
    """Of the best single threshold, either way round."""
    cuts = [np.mean([(values[truth] > c).mean(), (values[~truth] <= c).mean()]) for c in values]
    return max(max(cuts), 1 - min(cuts))


@pytest.mark.parametrize("specimen", ["blood", "marrow"])
def test_neither_area_nor_darkness_of_the_nucleus_alone_finds_the_blasts(specimen):
    rng, taxonomy = np.random.default_rng(6), TAXONOMY_OF[specimen]
    plan = plan_patients(rng, CohortOptions(specimen, patients=40, centers=1, seed=1))
    cells = [cell for p in plan for field in p.fields for cell in field if cell[1] not in NOT_COUNTED]
    chosen = [cells[i] for i in rng.choice(len(cells), 100, replace=False)]
    drawn = [DRAW[drawing](rng, choose_clone(rng)) for _, drawing in chosen]
    is_blast = np.array([name in taxonomy.blasts for name, _ in chosen])
    assert 25 < is_blast.sum() < 75
    for measure in (nucleus_area, nucleus_darkness):
        assert 0.55 < best_balanced_accuracy(np.array([measure(d) for d in drawn]), is_blast) < 0.95


def test_patients_with_rods_and_patients_without():
    rng = np.random.default_rng(2)
    many, none = (replace(choose_clone(rng), rods=share) for share in (1.0, 0.0))
    assert all(DRAW["myeloblast"](np.random.default_rng(k), many).n_rods == 1 for k in range(3))
    assert all(DRAW["myeloblast"](np.random.default_rng(k), none).n_rods == 0 for k in range(3))
    bundles = [DRAW["apl_promyelocyte"](np.random.default_rng(k), many).n_rods for k in range(6)]
    assert max(bundles) >= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0},
        {"centers": 0},
        {"centers": 3},
        {"specimen": "urine"},
        {"cells_per_field": (9, 8)},
        {"cells_per_field": (1, 500)},
        {"patients": 1000},
        {"fields_per_patient": -1},
    ],
)
def test_numbers_without_sense_are_refused(tmp_path, wrong):
    with pytest.raises(InputError):
        simulate_cohort(tmp_path, replace(BLOOD, **wrong))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--specimen", "marrow"], "add --centers"),
        (["--fields", "2"], "add --centers"),
        (["--centers", "3"], "can't come from 3 centers"),
        (["--centers", "1", "--fields", "0"], "--fields must be 1 or more"),
    ],
)
def test_bad_options_are_one_line(tmp_path, capsys, words, message):
    assert main(["simulate", "--out", str(tmp_path), "--patients", "2", "--seed", "1", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_draws_a_cohort(tmp_path, capsys):
    words = ["--specimen", "blood", "--patients", "1", "--centers", "1", "--fields", "1", "--seed", "1"]
    assert main(["simulate", "--out", str(tmp_path / "c"), *words]) == 0
    assert "drawings, not photographs" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "c").iterdir()} == {
        "cells.csv", "cvat", "dataset.json", "fields.jsonl", "images", "masks", "patients.csv", "truth.json",
    }  # fmt: skip


def test_outlines_turn_once_around():
    assert len(ANGLES) == N_ANGLES and np.isclose(ANGLES[1] * N_ANGLES, 2 * np.pi)

"""Rendered smears: one seed draws the same bytes, the truth is the drawing's, and every picture says what it is."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import InputError
from leukoscope.geometry import contour_area, contour_box
from leukoscope.images import read_image
from leukoscope.simulate import simulate
from leukoscope.simulate.field import render_field
from leukoscope.simulate.kinds import BLASTS, KINDS, NOT_COUNTED
from leukoscope.simulate.label import LABEL_BOX, burn_label
from leukoscope.simulate.look import choose_look
from leukoscope.simulate.red_cells import red_cell
from leukoscope.simulate.white_cells import DRAW, PX_PER_UM

WIDTH, HEIGHT = 1024, 768
SMALL = {"patients": 4, "seed": 11, "fields_per_patient": 2}


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("smears"), **SMALL)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_draws_the_same_bytes(tmp_path, smears):
    again = simulate(tmp_path / "again", **SMALL)
    assert files_of(again) == files_of(smears)


def test_another_seed_draws_other_pictures(tmp_path):
    folders = [simulate(tmp_path / str(seed), patients=1, seed=seed, fields_per_patient=1) for seed in (12, 13)]
    (one,), (other,) = ([p.read_bytes() for p in folder.rglob("*.jpg")] for folder in folders)
    assert one != other


def test_boxes_lie_inside_and_are_those_of_the_contours(smears):
    dataset = read_dataset(smears)
    assert len(dataset.fields) == 8
    for field in dataset.fields:
        assert (field.width, field.height) == (WIDTH, HEIGHT) == read_image(dataset.path(field)).shape[1::-1]
        for cell in field.cells:
            x0, y0, x1, y1 = cell.box
            assert 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
            assert np.allclose(contour_box(np.array(cell.contour)), cell.box, atol=0.02)
            assert contour_area(np.array(cell.contour)) > 0.5 * (x1 - x0) * (y1 - y0)


def test_ratios_are_as_declared_and_fit_the_kind_of_patient(smears):
    truth = json.loads((smears / "truth.json").read_text("utf-8"))
    drawn = {p["patient_id"]: Counter() for p in truth["patients"]}
    for field in read_dataset(smears).fields:
        drawn[field.key.patient_id].update(c.class_name for c in field.cells)
    for patient in truth["patients"]:
        counts = drawn[patient["patient_id"]]
        assert dict(counts) == patient["counts"]
        beside = (*NOT_COUNTED, "erythroblast")  # in blood nucleated red cells are no leukocytes
        n_counted = sum(n for name, n in counts.items() if name not in beside)
        n_blasts = sum(counts[name] for name in BLASTS)
        assert patient["blast_ratio"] == n_blasts / n_counted
        assert (patient["n_blasts"], patient["n_counted"]) == (n_blasts, n_counted)
    by_kind = {p["kind"]: p for p in truth["patients"]}
    assert set(by_kind) == {"ordinary", "AML-like", "ALL-like", "many smudges"}
    for kind in KINDS[:4]:
        low, high = kind.ratios
        patient = by_kind[kind.name]
        assert low - 0.05 <= patient["blast_ratio"] <= high + 0.05
        assert kind.blast_class is None or patient["counts"][kind.blast_class] == patient["n_blasts"]
    smudges = {name: p["counts"].get("smudge_cell", 0) for name, p in by_kind.items()}
    assert smudges.pop("many smudges") > 3 * max(smudges.values())


def test_two_sets_share_no_patient_and_no_picture_name(tmp_path, smears):
    other = simulate(tmp_path, **SMALL | {"seed": 12, "fields_per_patient": 1})
    one, two = ({(f.key.patient_id, f.key.field_id) for f in read_dataset(s).fields} for s in (smears, other))
    assert not {p for p, _ in one} & {p for p, _ in two} and not {f for _, f in one} & {f for _, f in two}
    assert all("11" in p for p, _ in one)


def test_every_picture_says_that_it_is_rendered(smears):
    pictures = sorted(smears.rglob("*.jpg"))
    assert len(pictures) == 8
    x0, y0, x1, y1 = LABEL_BOX
    expected = burn_label(np.full((HEIGHT, WIDTH, 3), 236, np.uint8))[y0:y1, x0:x1, 0] < 160
    for path in pictures:
        assert path.name.startswith("rendered_")
        shown = read_image(path)[y0:y1, x0:x1].mean(2) < 160
        assert (shown == expected).mean() > 0.98 and expected.sum() > 300
        with Image.open(path) as image:
            assert b"not photographs" in image.info["comment"]
    head = json.loads((smears / "dataset.json").read_text("utf-8"))
    assert "drawings" in head["citation"] and head["source_format"] == "simulate"
    assert all(f.key.center == "rendered" for f in read_dataset(smears).fields)


def test_patients_table_names_every_picture(smears):
    rows = list(csv.DictReader((smears / "patients.csv").read_text("utf-8").splitlines()))
    assert {smears / r["file"] for r in rows} == set(smears.rglob("*.jpg"))
    assert all(r["file"].split("/")[1] == r["patient_id"] for r in rows)


@pytest.fixture(scope="module")
def examples():
    """Four drawings of each class."""
    return {name: [draw(np.random.default_rng([5, i])) for i in range(4)] for name, draw in DRAW.items()}


def darkness(drawn):
    """(S, S) share of green light that is lost: nuclei are dark, cytoplasm is not."""
    return 1 - np.exp(-drawn.density[..., 1])


def nucleus_share(drawn):
    return float((darkness(drawn) > 0.5).sum() / (drawn.alpha > 0.5).sum())


def diameter_um(drawn):
    return 2 * np.sqrt(contour_area(drawn.contour) / np.pi) / PX_PER_UM


def mean_of(examples, name, measure):
    return np.mean([measure(d) for d in examples[name]])


def test_sizes_follow_the_descriptions(examples):
    size = {name: mean_of(examples, name, diameter_um) for name in DRAW}
    assert size["lymphocyte"] < size["lymphoblast"] < size["myeloblast"] < 20
    assert size["lymphocyte"] < size["segmented_neutrophil"] < size["monocyte"]
    assert size["erythroblast"] < size["lymphoblast"]


def test_nuclei_follow_the_descriptions(examples):
    share = {name: mean_of(examples, name, nucleus_share) for name in DRAW if name not in NOT_COUNTED}
    assert min(share["lymphocyte"], share["lymphoblast"]) > 0.6
    assert max(share["segmented_neutrophil"], share["band_neutrophil"]) < 0.5
    assert share["erythroblast"] < 0.5 and share["myelocyte"] < share["lymphoblast"]


def test_granules_of_eosinophils_are_red_and_of_basophils_blue_black(examples):
    def colour(drawn):  # of stained cytoplasm and granules: mean density of red, green, blue
        return drawn.density[drawn.alpha > 0.9].mean(0)

    eosinophil, basophil = (np.mean([colour(d) for d in examples[n]], 0) for n in ("eosinophil", "basophil"))
    assert eosinophil[2] > 0.75 * eosinophil[0]  # as much blue is lost as red: orange-red
    assert basophil[0] > 1.3 * basophil[2]  # red is lost, blue is left
    assert basophil.sum() > 1.3 * eosinophil.sum()


def test_red_cells_have_a_pale_middle():
    for seed in range(5):
        cell = red_cell(np.random.default_rng(seed), pallor=1.0)
        middle = cell.alpha.shape[0] // 2
        across = cell.density[middle, middle:, 1]  # from the middle to the rim
        assert across[0] < 0.75 * across.max() and across[-1] < 0.01


def test_a_field_shows_glass_red_cells_and_a_blue_stained_white_cell():
    rng = np.random.default_rng(3)
    pixels, (cell,) = render_field(rng, choose_look(rng), ["monocyte"])
    levels = pixels[40:].astype(float).mean(2)
    assert np.quantile(levels, 0.95) - np.quantile(levels, 0.1) > 25  # red cells stand out from glass
    x0, y0, x1, y1 = contour_box(cell.contour).round().astype(int)
    middle = pixels[y0:y1, x0:x1].astype(float)
    assert middle[..., 2].mean() > middle[..., 1].mean() + 10  # red cells are the other way round


def test_a_field_has_the_cells_it_was_asked_for():
    rng = np.random.default_rng(4)
    names = ["artefact", "smudge_cell", *["apl_promyelocyte"] * 12]
    _, placed = render_field(rng, choose_look(rng), names)
    assert [p.drawn_as for p in placed] == names
    assert all(len(p.contour) >= 3 for p in placed)


def test_marrow_has_marrow_cells(tmp_path):
    folder = simulate(tmp_path, patients=1, seed=2, fields_per_patient=1, cells_per_field=(14, 14), specimen="marrow")
    (field,) = read_dataset(folder).fields
    assert field.key.specimen == "marrow" and len(field.cells) == 14


@pytest.mark.parametrize(
    "wrong",
    [{"patients": 0}, {"seed": -1}, {"fields_per_patient": 0}, {"cells_per_field": (9, 8)}, {"specimen": "urine"}],
)
def test_numbers_without_sense_are_refused(tmp_path, wrong):
    with pytest.raises(InputError):
        simulate(tmp_path, **({"patients": 1, "seed": 1} | wrong))
    assert not list(tmp_path.iterdir())


def test_pictures_that_are_there_are_never_mixed_with_new_ones(smears):
    before = files_of(smears)
    with pytest.raises(InputError, match="already holds pictures"):
        simulate(smears, patients=1, seed=1)
    assert files_of(smears) == before


def test_progress_counts_fields(tmp_path):
    seen = []
    simulate(tmp_path, patients=1, seed=1, fields_per_patient=2, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]

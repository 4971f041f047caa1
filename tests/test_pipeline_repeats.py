"""What is seen twice counts once: the same file, copies, planes of focus, overlapping fields; and never by guessing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import draw_field, scatter_cells
from PIL import Image, ImageFilter

from leukoscope.dataset.audit import find_overlaps
from leukoscope.dataset.audit.align import blur_table
from leukoscope.pipeline import analyze
from leukoscope.report import counted_cells

HEIGHT, WIDTH = 320, 400


def smear(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Cells among red cells of many sizes, with a camera's noise."""
    rng = np.random.default_rng(seed)
    pixels = draw_field(height, width, scatter_cells(rng, height, width, 6 * width // WIDTH, apart=75)).astype(float)
    y, x = np.mgrid[:height, :width]
    for _ in range(40 * width // WIDTH):
        ring = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < rng.uniform(5, 12) ** 2
        pixels[ring & (pixels.min(axis=2) > 150)] = (225, 190, 200)
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def run(folder: Path, model: Path) -> dict:
    return json.loads(analyze([folder / "in"], folder / "out", model=model).read_text())


def by_name(record: dict) -> dict[str, dict]:
    return {Path(f["file"]).name: f for f in record["fields"]}


def counted(record: dict) -> dict[str, int]:
    return {p["patient_id"]: p["n_cells"] for p in record["patients"]}


def test_copies_and_planes_of_focus_count_once(model, tmp_path):
    one, other = smear(1), smear(2)
    save(tmp_path / "in" / "p" / "a.png", one)
    shutil.copy(tmp_path / "in" / "p" / "a.png", tmp_path / "in" / "p" / "a_copy.png")
    (tmp_path / "in" / "p" / "a_link.png").symlink_to(tmp_path / "in" / "p" / "a.png")
    save(tmp_path / "in" / "p" / "a.jpg", one, quality=80)
    save(tmp_path / "in" / "p" / "b.png", blurred(other, 3))
    save(tmp_path / "in" / "p" / "b_sharp.png", other)
    save(tmp_path / "in" / "p" / "c.png", smear(3))
    record = run(tmp_path, model)
    fields = by_name(record)
    kept = {name for name, field in fields.items() if "repeats" not in field}
    assert kept == {"b_sharp.png", "c.png", *(n for n in ("a.png", "a.jpg") if "repeats" not in fields[n])}
    assert len(kept) == 3
    names = [Path(f["file"]).name for f in record["fields"]]
    for name, field in fields.items():
        if name not in kept:
            assert Path(field["repeats"]["file"]).name == names[field["repeats"]["field"]]
            assert names[field["repeats"]["field"]] in kept and counted_cells(field) == []
    hows = {fields[n]["repeats"]["how"] for n in ("a_copy.png", "a_link.png") if n not in kept}
    assert hows <= {"same_file", "copy"} and fields["b.png"]["repeats"]["file"].endswith("b_sharp.png")
    (patient,) = record["patients"]
    assert patient["n_cells"] == sum(len(fields[n]["cells"]) for n in kept)
    assert (patient["n_fields"], patient["n_repeated"]) == (7, 4)
    with open(tmp_path / "out" / "cells.csv", encoding="utf-8-sig", newline="") as file:
        assert sum(int(row["counts"]) for row in csv.DictReader(file)) == patient["n_cells"]
    (flag,) = [f for f in patient["flags"] if f["code"] == "repeated_fields"]
    assert flag["text"].startswith("4 of the photographs")


def test_a_cell_of_two_overlapping_fields_counts_once(model, tmp_path):
    wide = smear(5, width=660)
    save(tmp_path / "in" / "p" / "1.png", wide[:, :400])
    save(tmp_path / "in" / "p" / "2.png", np.clip(wide[:, 180:580] * 0.95, 0, 255).astype(np.uint8))
    save(tmp_path / "in" / "p" / "3.png", wide[:, 260:])
    record = run(tmp_path, model)
    fields = by_name(record)
    places: list[np.ndarray] = []  # each cell of the smear once, as its place in it
    for name, left in (("1.png", 0), ("2.png", 180), ("3.png", 260)):
        for cell in fields[name]["cells"]:
            place = np.add(cell["box"][:2], cell["box"][2:]) / 2 + (left, 0)
            if all(np.hypot(*(place - p)) > 14 for p in places):
                places.append(place)
    (overlap,) = [o for o in fields["2.png"]["overlaps"] if o["file"].endswith("1.png")]
    assert overlap["proven"] and overlap["shift"] == pytest.approx([180, 0], abs=3)
    assert sum(len(f["cells"]) for f in fields.values()) > len(places) > 5
    assert counted(record)["p"] == len(places)
    for field in fields.values():
        for cell in field["cells"]:
            if "same_as" in cell:
                other = record["fields"][cell["same_as"]["field"]]["cells"][cell["same_as"]["cell"]]
                assert "same_as" not in other and other["class"] == cell["class"]
    (patient,) = record["patients"]
    assert patient["n_same_cells"] == sum("same_as" in c for f in fields.values() for c in f["cells"])


def test_different_fields_stay_as_they_are(model, tmp_path):
    for seed in range(8):
        save(tmp_path / "in" / "p" / f"{seed}.png", smear(seed))
    record = run(tmp_path, model)
    assert not any({"repeats", "overlaps", "also_of"} & set(f) for f in record["fields"])
    assert "n_repeated" not in record["patients"][0]


def test_a_picture_of_two_patients_counts_for_both_and_says_so(model, tmp_path):
    save(tmp_path / "store" / "1.png", smear(1))
    save(tmp_path / "in" / "anna" / "2.png", smear(2))
    for patient in ("anna", "bert"):
        (tmp_path / "in" / patient).mkdir(exist_ok=True)
        (tmp_path / "in" / patient / "1.png").symlink_to(tmp_path / "store" / "1.png")
    record = run(tmp_path, model)
    shared = [f for f in record["fields"] if f["file"].endswith("1.png")]
    assert [f["also_of"] for f in shared] == [["anna", "bert"]] * 2
    assert all("repeats" not in f for f in shared) and counted(record)["bert"] == len(shared[1]["cells"])
    for patient in record["patients"]:
        said = {flag["code"]: flag["text"] for flag in patient["flags"]}
        assert said["shared_photographs"].startswith("1 of the photographs are also another patient's")


def test_overlaps_are_found_on_real_photographs(shared_data):
    """Windows of one photograph with half in common, in another light; different photographs have nothing in common."""
    rng, pictures = np.random.default_rng(0), []
    for file in sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[100:110]:
        grey = np.asarray(Image.open(file).convert("L"))
        for left, light in ((0, 1.0), (213, 0.9)):
            part = np.clip(grey[:, left : left + 427] * light + rng.normal(0, 3, (480, 427)), 0, 255).astype(np.uint8)
            pictures.append(np.asarray(Image.fromarray(part).resize((114, 128), Image.Resampling.BOX)))
    found = {(o.first, o.second): o for o in find_overlaps(pictures) if o.is_proven}
    assert set(found) == {(2 * n, 2 * n + 1) for n in range(10)}
    assert all(abs(o.shift[0] - 213 / 427) < 0.02 and abs(o.shift[1]) < 0.02 for o in found.values())


def test_overlaps_do_not_depend_on_how_many_pictures_are_held(monkeypatch):
    """A patient of many photographs is compared in parts; partners on both sides of a part's end are found as well."""
    pictures = []
    for seed in range(6):
        wide = np.asarray(Image.fromarray(smear(seed, width=600)).convert("L").resize((192, 102), Image.Resampling.BOX))
        pictures += [wide[:, :128].copy(), wide[:, 64:].copy()]
    whole = find_overlaps(pictures, reach=3)
    assert {(o.first, o.second) for o in whole} == {(2 * n, 2 * n + 1) for n in range(6)}
    monkeypatch.setattr("leukoscope.dataset.audit.overlap._AT_A_TIME", 3)
    assert find_overlaps(pictures, reach=3) == whole


def test_blurs_hold_no_numbers_that_slow_a_processor_down():
    """Products with denormal numbers take ten times as long: most of what looking for overlaps cost once."""
    for side in (32, 64, 128):
        table = blur_table(side, 2.0)
        assert table[table != 0].min() > np.finfo(np.float32).tiny * 1e6
        assert np.allclose(table.sum(axis=1), 1, atol=1e-6)

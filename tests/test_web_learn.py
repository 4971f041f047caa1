"""What readers signed becomes a data set; a model that it does not make better is not written."""

from __future__ import annotations

import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from data import make_room
from data.make_bundles import COLORS, draw_field, make_classifier, make_model
from PIL import Image

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from sqlalchemy import select  # noqa: E402

from leukoscope.dataset.importer import import_dataset  # noqa: E402
from leukoscope.dataset.manifest import read_dataset  # noqa: E402
from leukoscope.errors import DataError, InputError  # noqa: E402
from leukoscope.models.bundle import find_model, part_of_model  # noqa: E402
from leukoscope.pipeline import analyze  # noqa: E402
from leukoscope.train.adapt.site import allowed_classes  # noqa: E402
from leukoscope.web import adapting  # noqa: E402
from leukoscope.web.cells import CellCache  # noqa: E402
from leukoscope.web.learn import export_reviewed  # noqa: E402
from leukoscope.web.serve import export  # noqa: E402
from leukoscope.web.signing import signed_record  # noqa: E402
from leukoscope.web.store import closing, open_store, readings  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.accounts import reader_named  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.readings import Edit  # noqa: E402

NAMES = ("lymphocyte", "monocyte", "eosinophil")
# A model that takes monocytes for lymphocytes and the other way round.
SWAPPED = COLORS | {"lymphocyte": COLORS["monocyte"], "monocyte": COLORS["lymphocyte"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Three patients, analysed by a model that errs, and the models: (db, wrong model, right model)."""
    folder = tmp_path_factory.mktemp("lab")
    for patient in range(3):
        place = folder / "pictures" / f"patient{patient}"
        place.mkdir(parents=True)
        cells = [(60 + 110 * n, 80, NAMES[n]) for n in range(3)]
        for number in range(2):
            pixels = draw_field(160, 400, [(x, y + 20 * number, name) for x, y, name in cells])
            Image.fromarray(np.asarray(pixels, np.uint8)).save(place / f"{number}.png")
    right = make_model(folder / "right")
    wrong = make_model(folder / "wrong")
    shutil.rmtree(wrong / "classifier")
    make_classifier(wrong / "classifier", colors=SWAPPED)
    record = analyze([folder / "pictures"], folder / "run", model=str(wrong))
    db = folder / "readings.db"
    store = open_store(db)
    open_run(store, record)
    reader, cache = reader_named(store, "Anna"), CellCache()
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.id).order_by(t.patient.c.id)).scalars().all()
    for patient in patients[:2]:
        reading = readings.find_reading(store, readings.begin_reading(store, patient, reader))
        with store.reading() as connection:
            cells = cache.get(connection, patient)
        for number, (cell, column) in enumerate(zip(cells.ids.tolist(), cells.called.tolist(), strict=True)):
            call = {"lymphocyte": "monocyte", "monocyte": "lymphocyte"}.get(cells.taxonomy.names[column])
            if number:  # the first cell is seen by nobody
                change = Edit("call", (cell,), f"op-{cell}", call=call or cells.taxonomy.names[column])
                readings.edit(store, reading.id, change, reader_id=reader)
        make = lambda connection, locked: signed_record(connection, cache.get(connection, locked.patient_id), locked)  # noqa: E731
        closing.sign(store, reading.id, make, reader_id=reader, op="sign")
    store.close()
    return db, wrong, right


def test_signed_cells_become_a_data_set_that_goes_to_cvat_and_back(lab, tmp_path):
    db, _, _ = lab
    found = export(str(db), "manifest", str(tmp_path / "set"))
    dataset = read_dataset(tmp_path / "set")
    assert {f.key.patient_id for f in dataset.fields} == {"patient0", "patient1"}
    assert (found["n_cells"], found["n_typed"], found["n_missing"]) == (12, 10, 0)
    assert all(dataset.path(f).is_file() for f in dataset.fields)
    classes = [c.class_name for f in dataset.fields for c in f.cells]
    assert classes.count(None) == 2 and set(classes) - {None} == set(NAMES)
    export(str(db), "cvat", str(tmp_path / "cvat"))
    import_dataset("cvat", tmp_path / "cvat", tmp_path / "back")
    back = read_dataset(tmp_path / "back")
    assert sorted((c.class_name or "", c.box) for f in back.fields for c in f.cells) == sorted(
        (c.class_name or "", c.box) for f in dataset.fields for c in f.cells
    )


def test_a_model_is_written_only_where_it_is_better_on_patients_left_out(lab, tmp_path, monkeypatch):
    """A layer that swaps two classes, and one that is right: what is believed are patients that it did not learn."""
    db, wrong, _ = lab
    names = part_of_model(find_model(str(wrong)), "classify").card.taxonomy
    right = np.eye(len(names.names) + 1, len(names.names))  # what is heard of a cell is its class
    swapped = right.copy()
    a, b = names.index("lymphocyte"), names.index("monocyte")
    swapped[[a, b]] = swapped[[b, a]]
    learnt, written = [], []

    def hear_site(model, data, *, progress=None):
        cells = [(f, c) for f in read_dataset(data).fields for c in f.cells]
        allowed = allowed_classes(np.array([c.class_name or "" for _, c in cells]), names)
        said = {"groups": np.array([f.key.patient_id for f, _ in cells]), "unit": "patient"}
        crops = SimpleNamespace(files=np.array([f.file for f, _ in cells]), **said)
        assert {f.key.patient_id for f, c in cells if c.class_name is None} == {"patient0", "patient1", "patient2"}
        known = np.flatnonzero(allowed.any(1))
        return SimpleNamespace(cells=crops, features=allowed.astype(float), allowed=allowed, known=known, network=None)

    def fitting(weights):
        def fit_rows(site, used, *, among, seed):
            left_out = {"patient0", "patient1"} - set(site.cells.groups[used])
            assert set(used) < set(among) and not left_out & set(site.cells.groups[among])
            learnt.append(set(site.cells.groups[used]))
            return SimpleNamespace(weights=weights), False

        return fit_rows

    monkeypatch.setattr(adapting, "hear_site", hear_site)
    monkeypatch.setattr(adapting, "old_weights", lambda network: swapped)
    monkeypatch.setattr(adapting, "adapt_heard", lambda site, out, *, seed: written.append(out))
    monkeypatch.setattr(adapting, "fit_rows", fitting(right))
    found = adapting.adapt_from(str(wrong), str(db), tmp_path / "ours")
    assert sorted(map(sorted, learnt)) == [["patient0"], ["patient1"]] and written == [tmp_path / "ours"]
    assert (found.unit, found.n_groups, found.n_cells) == ("patient", 2, 10)
    assert found.after[0] == 1 and found.before[0] < 0.5 and found.gain[0] > 0.4
    monkeypatch.setattr(adapting, "fit_rows", fitting(swapped))
    with pytest.raises(InputError, match="not better"):
        adapting.adapt_from(str(wrong), str(db), tmp_path / "theirs")
    assert written == [tmp_path / "ours"]


def test_the_locator_learns_from_fields_that_were_looked_through(lab, tmp_path, monkeypatch):
    """A field that nobody opened may hold cells that nobody boxed: it teaches nothing."""
    db, wrong, _ = lab
    with pytest.raises(DataError, match="open each field once"):
        adapting.adapt_locator_from(str(wrong), str(db), tmp_path / "ours")
    store = open_store(db)
    reader = reader_named(store, "Anna")
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.id).order_by(t.patient.c.id)).scalars().all()
    for patient, what in ((patients[0], "field 1"), (patients[0], "field 2"), (patients[1], "cells")):
        closing.note_access(store, patient, reader, what)
    store.close()
    seen = {}

    def adapt_locator(model, data, out, **how):
        seen.update(how, fields=read_dataset(data).fields)
        return "measured"

    monkeypatch.setattr(adapting, "adapt_locator", adapt_locator)
    assert adapting.adapt_locator_from(str(wrong), str(db), tmp_path / "ours", seed=3) == "measured"
    # Of the first patient's fields one holds the cell that nobody saw.
    assert [(f.key.patient_id, len(f.cells)) for f in seen["fields"]] == [("patient0", 3)] and seen["seed"] == 3


def test_regions_of_a_slide_become_pictures_with_all_of_their_cells(tmp_path):
    """A slide is no photograph: each field that was read goes out as its own pixels, and a cell that another field
    counts is boxed too, so that nothing learns that there is none."""
    pytest.importorskip("openslide", reason="slides are not installed: pip install '.[slides]'")
    run = make_room.make_slide_run(tmp_path / "run", n_fields=4, n_cells=6)
    store = open_store(tmp_path / "readings.db")
    open_run(store, run)
    reader, cache = reader_named(store, "Anna"), CellCache()
    with store.reading() as connection:
        patient = connection.execute(select(t.patient.c.id)).scalar()
        cells = cache.get(connection, patient)
    reading = readings.find_reading(store, readings.begin_reading(store, patient, reader))
    every = Edit("call", tuple(cells.ids.tolist()), "op", call="monocyte")
    readings.edit(store, reading.id, every, reader_id=reader)
    make = lambda connection, locked: signed_record(connection, cells, locked)  # noqa: E731
    closing.sign(store, reading.id, make, reader_id=reader, op="sign")
    export_reviewed(store, tmp_path / "set")
    store.close()
    fields = read_dataset(tmp_path / "set").fields
    for number, field in enumerate(fields):
        path = read_dataset(tmp_path / "set").path(field)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == field.sha256
        with Image.open(path) as picture:
            assert picture.size == (field.width, field.height) == (640, 480)
        assert [c.class_name for c in field.cells].count(None) == (1 if number else 0) and len(field.cells) == 6
    export(str(tmp_path / "readings.db"), "coco", str(tmp_path / "coco"))
    assert len(list((tmp_path / "coco").rglob("*.png"))) == len(fields) > 1


def test_the_next_cells_are_of_patients_that_nobody_signed(lab, tmp_path):
    db, _, _ = lab
    store = open_store(db)
    found = export_reviewed(store, tmp_path / "open", signed=False)
    dataset = read_dataset(tmp_path / "open")
    assert {f.key.patient_id for f in dataset.fields} == {"patient2"} and found["n_typed"] == 0
    store.close()
    empty = open_store(tmp_path / "empty.db")
    with pytest.raises(DataError, match="sign some"):
        export_reviewed(empty, tmp_path / "nothing")
    empty.close()
    with pytest.raises(InputError, match="no database"):
        adapting.adapt_from("blood", str(tmp_path / "absent.db"), tmp_path / "x")

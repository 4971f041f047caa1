"""Pictures of the reading room: like cells from other patients, whole slides by region."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from data import make_room

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")

from data.web_room import Room, cells_of, picture_of

from leukoscope.web.store import accounts, open_store
from leukoscope.web.store.opening import open_run
from leukoscope.web.store.photographs import Photographs


def test_like_cells_come_with_their_pictures_and_no_open_reading(tmp_path):
    store = open_store(tmp_path / "readings.db")
    run = make_room.make_run(tmp_path / "run", n_patients=2, n_fields=6, n_cells=6)
    make_room.with_features(run)
    open_run(store, run)
    with make_room.served(store, default_reader=accounts.reader_named(store, "Anna")) as origin:
        room = Room(origin, store)
        anna, (mine, theirs) = room.client("Anna"), room.patients
        reading, other = (anna.api(f"/patients/{p}/readings", {})[1]["reading"] for p in (mine, theirs))
        cell = cells_of(anna, reading)["cells"][0][0]
        page = anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        assert len(re.search('data-like="([^"]*)"', page).group(1).split()) == 12
        found = [int(n) for n in re.findall(r'src="/like/(\d+)\.jpg"', page)]
        assert len(found) == 12 and set(found) <= {row[0] for row in cells_of(anna, other)["cells"]}
        assert f'href="/p/{theirs}#c{found[0]}"' in page and "as the model called" in page
        assert picture_of(anna, f"/like/{found[0]}.jpg").shape == (96, 96, 3)
        for wrong in (0, 10**6, 2**60):
            assert anna.get(f"/like/{wrong}.jpg")[0] == 404
        call = {"kind": "call", "op": "a", "cells": found, "call": "basophil"}
        assert anna.api(f"/readings/{other}/events", call)[0] == 200
        assert "basophil" not in anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        anna.api(f"/readings/{reading}/notes", {"kind": "mode", "op": "h", "hidden": True})
        hidden = anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        assert "not read yet" in hidden and "as the model called" not in hidden
    store.close()


def test_a_slide_is_shown_whole_and_by_region_and_each_cell_is_read_once(tmp_path):
    pytest.importorskip("openslide", reason="slides are not installed: pip install '.[slides]'")
    store = open_store(tmp_path / "readings.db")
    run = make_room.make_slide_run(tmp_path / "run", n_fields=5, n_cells=6)
    n_fields = len([f for f in json.loads((run / "record.json").read_text())["fields"] if f["status"] != "failed"])
    opened = open_run(store, run)
    assert opened.n_cells == 6 * n_fields - (n_fields - 1)
    with make_room.served(store, default_reader=accounts.reader_named(store, "Anna")) as origin:
        room = Room(origin, store)
        anna = room.client("Anna")
        reading = anna.api(f"/patients/{room.patients[0]}/readings", {})[1]["reading"]
        shown = [n for n, f in enumerate(cells_of(anna, reading)["fields"]) if f["status"] != "failed"]
        first, second = shown[:2]
        assert [len(f["elsewhere"]) for f in cells_of(anna, reading)["fields"] if f["status"] != "failed"] == [0] + [
            1
        ] * (n_fields - 1)
        page = anna.get(f"/r/{reading}/s/{first}")[2]
        slide = json.loads(re.search('id="slide">(.*?)</script>', page).group(1))
        assert slide["width"] == 1280 and len(slide["regions"]) == n_fields
        assert slide["regions"][str(second)][0] == [640, 0, 1280, 480]
        # The region's tile and the slide's show the same pixels.
        region = picture_of(anna, f"/r/{reading}/f/{second}/tile/1/0_0.jpg")
        whole = np.concatenate([picture_of(anna, f"/r/{reading}/s/{first}/tile/1/{x}_0.jpg") for x in (1, 2)], axis=1)
        assert np.abs(region[:480, :512].astype(int) - whole[:480, 128 : 128 + 512]).mean() < 4
        assert picture_of(anna, f"/r/{reading}/s/{first}/tile/4/0_0.jpg").shape[1] == 320
        for path in ("s/99", f"s/{first}/tile/1/9_9.jpg", f"s/{first}/tile/3/0_0.jpg", "s/99/tile/1/0_0.jpg"):
            assert anna.get(f"/r/{reading}/{path}")[0] == 404, path
        (run / "slide.tif").rename(tmp_path / "moved.tif")
        assert anna.get(f"/r/{reading}/s/{first}/tile/1/0_0.jpg")[0] == 404
        assert Photographs(store).take_folder(tmp_path) == n_fields
        assert anna.get(f"/r/{reading}/s/{first}/tile/1/0_0.jpg")[0] == 200
    store.close()

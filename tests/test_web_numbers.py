"""The numbers of a reading are the library's own: at first the record's, hidden calls say nothing, rules hold."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from data import make_room
from data.later import Later

pytest.importorskip("sqlalchemy", reason="the reading room is not installed: pip install '.[review]'")
from openpyxl import load_workbook  # noqa: E402
from sqlalchemy import select  # noqa: E402

from leukoscope.evaluate.classes import cohen_kappa, confusion_matrix  # noqa: E402
from leukoscope.exchange.csv_files import signed_csv  # noqa: E402
from leukoscope.exchange.workbook import signed_workbook  # noqa: E402
from leukoscope.web.differential import agreement, numbers  # noqa: E402
from leukoscope.web.downloads import audit_csv, audit_rows  # noqa: E402
from leukoscope.web.guard import Site  # noqa: E402
from leukoscope.web.pdf import report_pdf  # noqa: E402
from leukoscope.web.room import make_room as make_pages  # noqa: E402
from leukoscope.web.settings import default_settings  # noqa: E402
from leukoscope.web.signing import obstacles, signed_record  # noqa: E402
from leukoscope.web.store import closing, open_store, readings  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.accounts import reader_named  # noqa: E402
from leukoscope.web.store.closing import Pair  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.projection import calls_of  # noqa: E402
from leukoscope.web.store.readings import Edit  # noqa: E402
from leukoscope.web.times import spread, times_chart  # noqa: E402
from leukoscope.web.view import cell_table  # noqa: E402

metrics = Later("sklearn.metrics")


class Desk:
    """An open reading of the patient with the most blasts."""

    def __init__(self, folder) -> None:
        self.store = open_store(folder / "r.db")
        open_run(self.store, make_room.make_run(folder / "run", n_patients=2, n_fields=10, n_cells=6))
        self.reader = reader_named(self.store, "=Anna")  # a name that a spreadsheet would run
        self.room = make_pages(self.store, Site(frozenset(), False, False), default_reader=self.reader)
        with self.store.reading() as connection:
            patient = connection.execute(select(t.patient).order_by(t.patient.c.share.desc())).first()
            self.cells = self.room.cells.get(connection, patient.id)
        self.entry = json.loads(patient.entry)
        self.key = readings.begin_reading(self.store, patient.id, self.reader)
        self.ids, self.op = self.cells.ids.tolist(), 0

    @property
    def reading(self):
        return readings.find_reading(self.store, self.key)

    def call(self, ids, name: str) -> None:
        self.op += 1
        change = Edit("call", tuple(ids), f"op-{self.op}", call=name)
        readings.edit(self.store, self.reading.id, change, reader_id=self.reader)

    def numbers(self, *, hidden: bool = False) -> dict:
        with self.store.reading() as connection:
            return numbers(self.cells, calls_of(connection, self.reading.id), hidden=hidden)

    def obstacles(self) -> list[str]:
        with self.store.reading() as connection:
            return [o.text for o in obstacles(connection, self.cells, self.reading, default_settings().sign)]


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


def test_before_any_call_the_numbers_are_the_records(desk):
    found = desk.numbers()
    counts = {row["class"]: row["count"] for row in desk.entry["differential"]}
    assert {row["class"]: row["count"] for row in found["differential"]} == counts
    assert all(row["before"] == row["count"] for row in found["differential"])
    assert found["n_cells"] == desk.entry["n_cells"]


def test_calls_move_the_counts_and_uncounted_ones_leave_them(desk):
    before, (a, b, c, *_) = desk.numbers(), desk.ids
    desk.call([a], "basophil")
    desk.call([b], "unidentified")
    desk.call([c], "not_a_cell")
    after = desk.numbers()
    assert after["n_cells"] == before["n_cells"] - 1 and after["unidentified"] == before["unidentified"] + 1
    rows = {row["class"]: row for row in after["differential"]}
    was = [desk.cells.taxonomy.names[int(desk.cells.called[n])] for n in range(3)]
    assert rows["basophil"]["count"] == rows["basophil"]["before"] + 1 - was.count("basophil")
    assert sum(row["count"] for row in rows.values()) == sum(row["before"] for row in rows.values()) - 2


def test_hidden_calls_say_nothing_of_the_model(desk):
    desk.call([desk.ids[0]], "basophil")
    readings.note(desk.store, desk.reading.id, "mode", {"hidden": True}, reader_id=desk.reader, op="mode")
    found = desk.numbers(hidden=True)
    assert [row["class"] for row in found["differential"] if row["count"]] == ["basophil"]
    assert found["before"] == [] and {row["before"] for row in found["differential"]} == {None}
    with desk.store.reading() as connection:
        table = cell_table(connection, desk.room, desk.reading)
    column = {name: number for number, name in enumerate(table["columns"])}
    assert {row[column["model"]] for row in table["cells"]} == {-1}
    assert {(row[column["prob"]], row[column["cost"]]) for row in table["cells"]} == {(0, 0)}


def test_signing_waits_for_blasts_and_what_is_not_identified(desk):
    blasts = np.isin(desk.cells.called, desk.cells.taxonomy.columns(desk.cells.taxonomy.blasts))
    desk.call([desk.ids[0]], "unidentified")
    texts = desk.obstacles()
    assert "1 cell unidentified." in texts and any("not yet called or confirmed" in text for text in texts)
    desk.call([desk.ids[0]], "basophil")
    desk.call(desk.cells.ids[blasts].tolist(), "lymphoblast")
    assert desk.obstacles() == []


def test_downloads_hold_what_was_signed_and_no_formula(desk):
    desk.call([desk.ids[0]], "basophil")
    with desk.store.reading() as connection:
        record = signed_record(connection, desk.cells, desk.reading)
    closing.sign(desk.store, desk.reading.id, lambda *_: record, reader_id=desk.reader, op="sign")
    assert signed_csv(record).count(b"\n") == len(record["cells"]) + 1
    book = load_workbook(BytesIO(signed_workbook(record)))
    assert "f" not in {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row}
    assert "=Anna" in [cell.value for row in book["Summary"].iter_rows() for cell in row]
    assert report_pdf(record, "digest").startswith(b"%PDF-")
    with desk.store.reading() as connection:
        rows = audit_rows(connection, desk.cells.patient.id)
    assert [row["what"] for row in rows] == ["start", "call", "sign"] and {row["reader"] for row in rows} == {"=Anna"}
    assert b"=Anna" in audit_csv(rows) and b",=Anna" not in audit_csv(rows).replace(b",'=Anna", b"")
    assert b"'=Anna" in signed_csv(record)


def test_kappa_is_scikit_learns():
    rng = np.random.default_rng(5)
    a = rng.integers(0, 4, 200)
    b = np.where(rng.random(200) < 0.7, a, rng.integers(0, 4, 200))
    assert cohen_kappa(confusion_matrix(a, b, n_classes=4)) == pytest.approx(metrics.cohen_kappa_score(a, b))
    assert np.isnan(cohen_kappa(np.zeros((2, 2)))) and np.isnan(cohen_kappa(np.array([[5, 0], [0, 0]])))
    found = agreement([Pair(n, n, str(x), str(y)) for n, (x, y) in enumerate(zip(a, b, strict=True))], tuple("0123"))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(a, b)) and found["same"] == int((a == b).sum())


def test_what_nobody_saw_is_no_agreement():
    """Cells that neither reader looked at carry the model's call twice: kappa must not rise by them."""
    read = [Pair(1, 1, "a", "a"), Pair(2, 2, "a", "b"), Pair(3, None, None, "b")]
    unread = [Pair(n, n, "a", "a", False) for n in range(10, 90)] + [Pair(99, 99, "a", "b", False)]
    found, without = agreement(read + unread, ("a", "b")), agreement(read, ("a", "b"))
    assert (found["n"], found["same"], found["unseen"], found["differ"]) == (3, 1, 81, 3)
    assert found["kappa"] == without["kappa"] and found["classes"] == without["classes"]
    assert [c["agreement"] for c in found["classes"]] == [pytest.approx(2 / 3), 0]


def test_reading_times_are_spread_beside_the_published_ones():
    found = spread([20.0, 60.0, 190.0, 191.0, 400.0, 9000.0])
    assert (found["n"], found["bins"][0], found["bins"][2], found["bins"][6], found["bins"][-1]) == (6, 1, 1, 2, 1)
    assert [(f["seconds"], f["n"]) for f in found["faster"]] == [(191, 3), (326, 4)]
    assert found["quartiles"] == [60.0, 191.0, 400.0] and spread([]) is None
    assert times_chart(found).count("<rect") == len(found["bins"]) and "191 s at a microscope" in times_chart(found)

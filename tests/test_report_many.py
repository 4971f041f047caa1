"""The report of very many photographs: nothing grows without end, and what stands where is found in the file."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from data import make_record

from leukoscope.report import content, read_record, run_html, write_report
from leukoscope.report.lookup import Fields


def test_a_report_of_very_many_lists_them_on_several_pages(tmp_path, monkeypatch):
    for module in (content, run_html):
        monkeypatch.setattr(module, "MOST_ROWS", 5)
    paths = make_record.make_run(tmp_path, n_patients=12, n_fields=30, n_cells=3)
    write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
    record = read_record(paths["record"])
    lists = [(tmp_path / name).read_text("utf-8") for name in ("report.html", "report-2.html", "report-3.html")]
    assert [len(re.findall(r'<th scope="row"><a href="patients/\d+\.html"', text)) for text in lists] == [5, 5, 2]
    linked = re.findall(r'href="patients/(\d+\.html)"', "".join(lists))
    assert sorted(set(linked)) == sorted(p.name for p in (tmp_path / "patients").iterdir())
    assert all(f'href="report-{n}.html"' in lists[0] for n in (2, 3)) and 'href="report.html"' in lists[2]
    # The digests stand on the patients' pages, each once.
    digests = Counter(field["sha256"] for field in record.fields() if field["sha256"])
    pages = "".join(p.read_text("utf-8") for p in (tmp_path / "patients").iterdir())
    assert all(pages.count(f'<td class="digest">{digest}</td>') == n for digest, n in digests.items())
    assert not any(digest in text for digest in digests for text in lists)


def test_fields_are_found_in_the_file_whatever_stands_around_them(tmp_path):
    paths = make_record.make_run(tmp_path, n_patients=3, n_fields=4, n_cells=3)
    record = read_record(paths["record"])
    wanted = list(record.fields())
    for text in (
        paths["record"].read_text("utf-8"),
        json.dumps(json.loads(paths["record"].read_text("utf-8"))),
        json.dumps(json.loads(paths["record"].read_text("utf-8")) | {"note": "größer"}, indent=3, ensure_ascii=False),
    ):
        paths["record"].write_text(text, "utf-8")
        fields = Fields(read_record(paths["record"]))
        assert [fields[n] for n in reversed(range(len(fields)))] == wanted[::-1]
        with pytest.raises(KeyError):
            fields[len(fields)]


def test_the_list_of_failed_and_poor_fields_ends_with_how_many_more(tmp_path, monkeypatch):
    paths = make_record.make_run(tmp_path, n_patients=2, n_fields=6, n_cells=2)
    record = json.loads(paths["record"].read_text("utf-8"))
    for field in record["fields"][:7]:
        field |= {"status": "poor", "reason": "blurred"}
    paths["record"].write_text(json.dumps(record), "utf-8")
    n = sum(f["status"] != "ok" for f in record["fields"])
    for most, shown in ((100, n), (4, 4)):
        monkeypatch.setattr(run_html, "MOST_ROWS", most)
        write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
        text = (tmp_path / "report.html").read_text("utf-8").partition('id="problems"')[2].partition("</section>")[0]
        assert len(re.findall(r'<tr class="(?:poor|failed)">', text)) == shown
        assert (f"{n - 4} fields more are in record.json" in text) == (most == 4)


def test_few_cells_are_held_however_many_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.report.lookup._KEPT_CELLS", 12)
    paths = make_record.make_run(tmp_path, n_patients=2, n_fields=10, n_cells=5)
    fields = Fields(read_record(paths["record"]))
    wanted = [len(fields[n]["cells"]) for n in range(len(fields))]
    assert [len(fields[n]["cells"]) for n in reversed(range(len(fields)))] == wanted[::-1]
    assert sum(1 + len(f["cells"]) for f in fields._kept.values()) <= 12

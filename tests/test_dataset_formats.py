"""The formats of annotation tools together: each refuses another's set on one line, what is written others find."""

from __future__ import annotations

import json

import pytest
from data.almost_right import picture, put, take

from leukoscope.cli import main
from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.formats import FORMATS, writable
from leukoscope.dataset.importer import import_dataset
from leukoscope.errors import DataError, InputError


@pytest.mark.parametrize("format", [f.name for f in FORMATS if f.reads])
def test_a_set_of_another_format_is_refused_on_one_line(tmp_path, format):
    picture(tmp_path / "a.png")
    put(tmp_path / "notes.md", "nothing here")
    with pytest.raises((DataError, InputError)) as caught:
        import_dataset(format, tmp_path, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1 and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("format", writable())
def test_what_is_written_other_readers_find(tmp_path, format):
    """Outlines, boxes and splits as the format's own readers expect them, beside what only ours reads."""
    picture(tmp_path / "set/a.png")
    turned = '<box label="lymphocyte" rotation="90" xtl="70" ytl="40" xbr="130" ybr="60"/>'
    upright = '<box label="neutrophil" xtl="10" ytl="10" xbr="40" ybr="50"/>'
    text = f'<annotations><image id="0" name="a.png" width="200" height="100">{upright}{turned}</image></annotations>'
    put(tmp_path / "set/a.xml", text)
    import_dataset("cvat", tmp_path / "set", tmp_path / "made")
    export_dataset(format, tmp_path / "made", tmp_path / "out")
    report = import_dataset(format, tmp_path / "out", tmp_path / "back")
    assert (report.n_cells, report.n_dropped) == (2, 0)
    if format == "voc":
        text = (tmp_path / "out/Annotations/a.xml").read_text("utf-8")
        assert "<xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>50</ymax>" in text and "<polygon><x1>" in text
    if format == "geojson":
        content = json.loads((tmp_path / "out/geojson/default/a.png.geojson").read_text("utf-8"))
        assert [f["properties"]["objectType"] for f in content["features"]] == ["annotation"] * 2
        ring = content["features"][0]["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1] and len(ring) == 5


def test_classes_lists_names_codes_and_writes_a_table(tmp_path, capsys):
    assert main(["dataset", "classes"]) == 0
    assert "segmented_neutrophil" in capsys.readouterr().out
    for folder, n in (("Neutrophil", 2), ("lymphocytes", 1), ("MO", 1), ("zzz", 1)):
        for k in range(n):
            picture(tmp_path / f"set/{folder}/{folder}{k}.png")
    table = tmp_path / "ours.toml"
    assert main(["dataset", "classes", "folders", str(tmp_path / "set"), "--toml", str(table)]) == 0
    said = capsys.readouterr().out
    assert "4 codes of 5 objects" in said and "unknown; perhaps lymphocyte" in said and "perhaps monocyte" in said
    assert "(3 codes in it need their class, see its comments)" in said
    text = table.read_text("utf-8")
    for code, name in (("lymphocytes", "lymphocyte"), ("MO", "monocyte"), ("zzz", "other")):
        text = text.replace(f'# "{code}" = "?"', f'"{code}" = "{name}"')
    table.write_text(text, "utf-8")
    assert take("folders", tmp_path / "set", source=table)[0].cells_by_class == {
        "lymphocyte": 1, "monocyte": 1, "neutrophil": 2, "other": 1,
    }  # fmt: skip
    assert main(["dataset", "classes", "folders", str(tmp_path / "set"), "--toml", str(table)]) == 2
    assert main(["dataset", "classes", "--source", "pbc"]) == 0
    assert main(["dataset", "classes", "folders"]) == 2

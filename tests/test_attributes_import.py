"""A table of attributes joined to cells on import: our values, everything unused named."""

from __future__ import annotations

import pytest
from data.make_pbc import make_pbc

from leukoscope.cli import main
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import InputError, TaxonomyError
from leukoscope.taxonomy import WBC_11, Attribute, AttributeSet, read_attribute_set

HEADER = "img_name,label,cell_size,nucleus_shape,granule_type\n"


def write_table(folder, *rows, header=HEADER):
    path = folder / "attributes.csv"
    path.write_text(header + "".join(row + "\n" for row in rows))
    return path


def attributes_of(out):
    return {f.file.rsplit("/", 1)[-1]: dict(c.attributes) for f in read_dataset(out).fields for c in f.cells}


def test_values_become_ours_and_what_was_not_used_is_named(tmp_path):
    table = write_table(
        tmp_path,
        "BA_0.jpg,Basophil,big,segmented-bilobed,coarse",
        "EO_1,Eosinophil,small,,round",  # without its suffix; one value blank
        "LY_3.jpg,Lymphocyte,huge,unsegmented-round,nil",
        "XX_9.jpg,Lymphocyte,small,unsegmented-round,nil",
        "EO_555.jpg,Eosinophil,small,unsegmented-round,nil",  # somebody looked and found no cell
        "LY_777.jpg,Lymphocyte,small,unsegmented-round,nil",  # nobody annotated it
    )
    report = import_dataset("yolo", make_pbc(tmp_path / "pbc"), tmp_path / "out", source="pbc", attributes=table)
    found = attributes_of(tmp_path / "out")
    assert found["BA_0.jpg"] == {"cell_size": "large", "nucleus_shape": "bilobed", "granule_type": "coarse"}
    assert found["EO_1.jpg"] == {"cell_size": "small", "granule_type": "round"}
    assert found["LY_3.jpg"] == {"nucleus_shape": "round", "granule_type": "none"}
    assert found["MO_4.jpg"] == {} and report.n_with_attributes == 3
    noted = {(i.file, i.reason, i.detail) for i in report.issues if i.action == "noted"}
    assert {(file, reason) for file, reason, _ in noted} == {
        ("attributes.csv", "column is no attribute"),
        ("attributes.csv", "unknown attribute value"),
        ("XX_9.jpg", "attributes of a picture that is not here"),
        ("LY_777.jpg", "attributes of a picture nobody annotated"),
        ("train/images/EO_555.jpg", "attributes not used"),
    }
    details = " ".join(detail for *_, detail in noted)
    assert "'label'" in details and "'huge' in 1 rows; expected small, big" in details


def test_without_a_known_set_every_column_is_kept_as_it_stands(tmp_path):
    table = write_table(tmp_path, "one.png;violet", header="file;hue\n")
    folder = tmp_path / "cells" / "lymphocyte"
    folder.mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (20, 20)).save(folder / "one.png")
    import_dataset("folders", tmp_path / "cells", tmp_path / "out", attributes=table)
    assert attributes_of(tmp_path / "out") == {"one.png": {"hue": "violet"}}


def test_a_table_without_pictures_or_with_two_answers_is_refused(tmp_path):
    pbc = make_pbc(tmp_path / "pbc")
    nameless = write_table(tmp_path, "1,2", header="a,b\n")
    with pytest.raises(InputError, match="no column of picture names"):
        import_dataset("yolo", pbc, tmp_path / "a", source="pbc", attributes=nameless)
    two = write_table(tmp_path, "BA_0.jpg,x,big,irregular,coarse", "BA_0.jpg,x,small,irregular,coarse")
    with pytest.raises(InputError, match="row 3 names 'BA_0.jpg' a second time"):
        import_dataset("yolo", pbc, tmp_path / "b", source="pbc", attributes=two)
    with pytest.raises(InputError, match="no such file"):
        import_dataset("yolo", pbc, tmp_path / "c", source="pbc", attributes=tmp_path / "none.csv")


def test_the_command_says_how_many_cells_have_attributes(tmp_path, capsys):
    table = write_table(tmp_path, "BA_0.jpg,Basophil,big,segmented-bilobed,coarse")
    words = ["dataset", "import", "yolo", str(make_pbc(tmp_path / "pbc")), "--source", "pbc"]
    assert main([*words, "--attributes", str(table), "--out", str(tmp_path / "out")]) == 0
    assert "cells with attributes: 1" in capsys.readouterr().out


def test_an_attribute_set_is_checked_and_read_back():
    assert WBC_11.n_values == sum(len(a.values) for a in WBC_11.attributes) == 31 and len(WBC_11.attributes) == 11
    assert [s.stop - s.start for s in WBC_11.slices()][:3] == [2, 2, 6]
    assert AttributeSet.from_dict(WBC_11.to_dict()) == WBC_11 == read_attribute_set("wbc-11")
    for a in WBC_11.attributes:
        assert [a.value_of(word) for word in a.source_words] == list(a.values)
    with pytest.raises(TaxonomyError, match="two values or more"):
        Attribute("hue", "cell", ("red",), ("red",), ("red",))
    with pytest.raises(TaxonomyError, match="no attribute set 'wbc-12'"):
        read_attribute_set("wbc-12")


def test_real_attributes(shared_data, tmp_path):
    pbc = shared_data / "pbc"
    rows = (pbc / "attributes.csv").read_text().splitlines()
    report = import_dataset("yolo", pbc, tmp_path / "out", source="pbc", attributes=pbc / "attributes.csv")
    assert report.n_with_attributes == len(rows) - 1 == 2455
    assert [i.detail.split(":")[0] for i in report.issues if i.file == "attributes.csv"] == ["'label'"]

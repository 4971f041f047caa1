"""Tables from the sources' codes to our classes, and a user's own table."""

from __future__ import annotations

import pytest

from leukoscope.dataset.sources import SOURCES, read_source
from leukoscope.errors import DataError, InputError
from leukoscope.taxonomy import MARROW_16, PCM_9, VOCABULARY


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_each_code_has_a_class_and_a_quotation(source):
    assert all(name in VOCABULARY and code and wording for code, (name, wording) in source.codes.items())


def test_every_source_of_the_issue_is_there():
    needed = {
        "pbc",
        "bccd",
        "cnmc",
        "jtsc",
        "cellavision",
        "draaslan",
        "all-idb1",
        "all-idb2",
        "munich",
        "marrow-21",
        "raabin",
        "pcm",
    }
    assert needed <= set(SOURCES)
    assert len(SOURCES["munich"].codes) == 15
    assert len(SOURCES["marrow-21"].codes) == 21
    assert {SOURCES[s].specimen for s in ("marrow-21", "marrow-cblc")} == {"marrow"}


def test_codes_that_are_easily_confused():
    munich = SOURCES["munich"]
    assert (munich.codes["MYB"][0], munich.codes["MYO"][0]) == ("myelocyte", "myeloblast")
    assert SOURCES["marrow-21"].codes["BLA"][0] == "blast"
    assert SOURCES["pbc"].codes["IG"][0] == "immature_granulocyte"  # not immunoglobulin
    assert SOURCES["pbc"].codes["MY"][0] == "myelocyte"
    assert [SOURCES["jtsc"].codes[c][0] for c in "12345"] == [
        "neutrophil",
        "lymphocyte",
        "monocyte",
        "eosinophil",
        "basophil",
    ]
    assert SOURCES["cnmc"].codes["hem"][0] == "lymphoid_precursor"


def test_the_pcm_codes_are_the_taxonomy():
    assert {name for name, _ in SOURCES["pcm"].codes.values()} == set(PCM_9.names)


def test_the_eight_cblc_codes_make_the_composite():
    codes = ("N", "N1", "M", "M1", "R", "R1", "J", "J1")
    assert {SOURCES["marrow-cblc"].codes[c][0] for c in codes} == set(MARROW_16.composites["cblc"])
    others = [c for c in SOURCES["marrow-cblc"].codes if c not in codes]
    assert not {SOURCES["marrow-cblc"].codes[c][0] for c in others} & set(MARROW_16.composites["cblc"])


def test_a_table_of_ones_own(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(
        'center = "Lab"\num_per_px = 0.1\n[columns]\nimage = "Picture"\n'
        '[codes]\nNEU = "neutrophil"\nLYM = { class = "lymphocyte", wording = "Lymphozyt" }\n'
    )
    source = read_source(file)
    assert (source.name, source.center, source.um_per_px) == ("lab", "Lab", 0.1)
    assert source.codes == {"NEU": ("neutrophil", "NEU"), "LYM": ("lymphocyte", "Lymphozyt")}


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("codes = ", InputError, "not valid TOML"),
        ('name = "x"', DataError, "no codes"),
        ('[codes]\nA = "lymphocyte"\n[colours]\nB = 1', DataError, "unknown keys colours"),
        ("[codes]\nA = 3", DataError, "must be a class name"),
        ('um_per_px = "0.1"\n[codes]\nA = "lymphocyte"', DataError, "um_per_px must be a number"),
        ('columns = "image"\n[codes]\nA = "lymphocyte"', DataError, "columns must be a table"),
        ('image_name = "{0[x]}"\n[codes]\nA = "lymphocyte"', DataError, "image_name must hold"),
        ('code_pattern = "^[A-Z]+"\n[codes]\nA = "lymphocyte"', DataError, "needs a group"),
        ('subject_pattern = "("\n[codes]\nA = "lymphocyte"', DataError, "not a regular expression"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path, text, error, says):
    file = tmp_path / "lab.toml"
    file.write_text(text)
    with pytest.raises(error, match=says):
        read_source(file)


def test_a_source_that_is_not_there():
    with pytest.raises(InputError, match="no source 'pcb': expected one of pbc, bccd"):
        read_source("pcb")

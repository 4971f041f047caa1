"""The vocabulary, the shipped taxonomies and those from a user's file."""

from __future__ import annotations

import pytest

from leukoscope.errors import TaxonomyError
from leukoscope.taxonomy import (
    BLOOD_12,
    BLOOD_14,
    MARROW_16,
    PARENTS,
    PCM_9,
    TAXONOMIES,
    VOCABULARY,
    Taxonomy,
    nearest_class,
    read_taxonomy,
)

TOML = """
name = "ours"
names = ["myeloblast", "lymphocyte", "smudge_cell"]
counted = ["myeloblast", "lymphocyte"]
blasts = ["myeloblast"]
artefacts = ["smudge_cell"]
[composites]
cblc = ["myeloblast"]
"""


@pytest.mark.parametrize("taxonomy", TAXONOMIES.values(), ids=lambda t: t.name)
def test_shipped_taxonomies_speak_the_vocabulary(taxonomy):
    assert [n for n in taxonomy.names if n not in VOCABULARY] == []
    assert read_taxonomy(taxonomy.name) is taxonomy
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy
    assert Taxonomy.from_dict(taxonomy.to_dict()).sha256() == taxonomy.sha256()


def test_pcm_has_the_papers_nine_classes():
    assert len(PCM_9.names) == 9
    assert PCM_9.blasts == ("lymphoblast", "myeloblast", "apl_promyelocyte")


def test_marrow_has_sixteen_classes_and_the_composite_of_eight():
    assert len(MARROW_16.names) == 16
    assert MARROW_16.composites == {
        "cblc": (
            "myeloblast", "promyelocyte", "monoblast", "promonocyte",
            "proerythroblast", "early_erythroblast", "megakaryoblast", "promegakaryocyte",
        )
    }  # fmt: skip
    # CBLC is not the blasts: no line drawn for blasts may be applied to it.
    assert set(MARROW_16.blasts) < set(MARROW_16.composites["cblc"])


def test_the_digest_follows_order_and_subsets():
    values = PCM_9.to_dict()
    swapped = values | {"names": [values["names"][1], values["names"][0], *values["names"][2:]]}
    fewer = values | {"blasts": values["blasts"][:1]}
    assert len({PCM_9.sha256(), Taxonomy.from_dict(swapped).sha256(), Taxonomy.from_dict(fewer).sha256()}) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": []}, "no classes"),
        ({"names": ["a", "b", "a"]}, "names a twice"),
        ({"names": "ab"}, "must be a list"),
        ({"counted": ["c"]}, "counted has c"),
        ({"blasts": ["b"]}, "not counted"),
        ({"artefacts": ["a"]}, "both counted and an artefact"),
        ({"composites": {"cblc": ["b"]}}, "cblc has b"),
        ({"composites": {"cblc": "a"}}, "composite cblc must be a list"),
        ({"composites": ["a"]}, "must be a table"),
        ({"colour": ["a"]}, "unknown: colour"),
    ],
)
def test_a_wrong_taxonomy_says_what_is_wrong(change, says):
    values = {"name": "t", "names": ["a", "b"], "counted": ["a"]}
    assert Taxonomy.from_dict(values).names == ("a", "b")
    with pytest.raises(TaxonomyError, match=says):
        Taxonomy.from_dict(values | change)


def test_a_missing_key_is_named():
    with pytest.raises(TaxonomyError, match="missing: counted"):
        Taxonomy.from_dict({"name": "t", "names": ["a"]})


def test_columns_and_index():
    assert PCM_9.index("basophil") == 2
    assert PCM_9.columns(("other", "lymphocyte")) == [8, 0]
    with pytest.raises(TaxonomyError, match="class 'plasma_cell' is not in taxonomy 'pcm-9'; it has lymphocyte"):
        PCM_9.index("plasma_cell")


def test_a_taxonomy_of_ones_own_comes_from_toml(tmp_path):
    file = tmp_path / "ours.toml"
    file.write_text(TOML)
    taxonomy = read_taxonomy(file)
    assert taxonomy.names == ("myeloblast", "lymphocyte", "smudge_cell")
    assert taxonomy.composites == {"cblc": ("myeloblast",)}


def test_a_taxonomy_that_is_not_there_or_not_toml(tmp_path):
    with pytest.raises(TaxonomyError, match="expected one of blood-12, blood-14, pcm-9, marrow-14, marrow-16"):
        read_taxonomy("blod-12")
    file = tmp_path / "bad.toml"
    file.write_bytes(b"name = \xff")
    with pytest.raises(TaxonomyError, match="not valid TOML"):
        read_taxonomy(file)


def test_parents_stay_in_the_vocabulary_and_end():
    assert {*PARENTS, *PARENTS.values()} <= set(VOCABULARY)
    for name in VOCABULARY:
        steps = 0
        while name in PARENTS:
            name, steps = PARENTS[name], steps + 1
            assert steps < 10, f"{name} is its own ancestor"


@pytest.mark.parametrize(
    ("class_name", "names", "nearest"),
    [
        ("band_neutrophil", ("band_neutrophil", "neutrophil"), "band_neutrophil"),
        ("band_neutrophil", ("neutrophil", "lymphocyte"), "neutrophil"),
        ("lymphoid_precursor", ("lymphocyte", "lymphoblast"), "lymphocyte"),
        ("faggot_cell", PCM_9.names, "apl_promyelocyte"),
        ("red_cell", PCM_9.names, None),
        # A source that keeps normal blasts apart must not have them slip into CBLC.
        ("normal_myeloblast", MARROW_16.names, None),
        ("lymphoblast", MARROW_16.names, None),
        ("their_own_name", ("their_own_name",), "their_own_name"),
    ],
)
def test_nearest_class(class_name, names, nearest):
    assert nearest_class(class_name, names) == nearest


def test_old_taxonomies_mean_the_right_thing_and_keep_their_digest():
    """The dicts of cards and records written before a taxonomy named its lines and its nucleated red cells."""
    old = {"name": "t", "names": ["proerythroblast", "megakaryocyte", "lymphoblast", "promonocyte", "neutrophil"]}
    old |= {"counted": old["names"], "blasts": ["lymphoblast", "promonocyte"], "artefacts": [], "composites": {}}
    taxonomy = Taxonomy.from_dict(old)
    assert taxonomy.to_dict() == old
    assert taxonomy.denominator("blood") == ("lymphoblast", "promonocyte", "neutrophil")
    assert taxonomy.denominator("marrow") == taxonomy.counted
    assert (taxonomy.myeloid_blasts, taxonomy.lymphoid_blasts) == (("promonocyte",), ("lymphoblast",))
    assert taxonomy.lineage_known and not BLOOD_12.lineage_known
    assert BLOOD_12.sha256() == "45162b3055fdc0249e5af14e84b30a4a23994149005242e8abc9698de6699c03"  # of archived cards


def test_blood_14_is_blood_12_with_myeloblasts_and_smudges_and_no_line():
    assert BLOOD_14.names == (*BLOOD_12.names, "myeloblast", "smudge_cell")
    assert BLOOD_14.artefacts == ("artefact", "smudge_cell") and not BLOOD_14.lineage_known


def test_classes_of_ones_own_state_their_line_and_what_is_no_leukocyte():
    stated = {"name": "t", "names": ["M", "N", "E"], "counted": ["M", "N", "E"], "blasts": ["M"]}
    assert not Taxonomy.from_dict(stated).lineage_known and Taxonomy.from_dict(stated).denominator("blood")[2:] == (
        "E",
    )
    taxonomy = Taxonomy.from_dict(stated | {"nucleated_red": ["E"], "myeloid_blasts": ["M"]})
    assert taxonomy.lineage_known and taxonomy.denominator("blood") == ("M", "N")
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy


def test_a_blast_that_is_a_red_precursor_stays_among_the_leukocytes():
    names = ("proerythroblast", "erythroblast", "neutrophil")
    assert Taxonomy("t", names, names, blasts=("proerythroblast",)).denominator("blood") == (names[0], names[2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nucleated_red": ["a"]}, "both a blast and nucleated_red"),
        ({"nucleated_red": ["dirt"]}, "nucleated_red has dirt, which is not counted"),
        ({"myeloid_blasts": ["b"]}, "myeloid_blasts has b, not among its blasts"),
        ({"myeloid_blasts": ["a"], "lymphoid_blasts": ["a"]}, "a blast of both lines"),
        ({"lineage_known": True}, "lineage_known needs each blast"),
        ({"lineage_known": "yes"}, "true or false"),
        ({"lymphoid_blasts": "a"}, "lymphoid_blasts must be a list"),
    ],
)
def test_wrong_lines_are_refused(change, says):
    values = {"name": "t", "names": ["a", "b", "dirt"], "counted": ["a", "b"], "blasts": ["a"]}
    with pytest.raises(TaxonomyError, match=says):
        Taxonomy.from_dict(values | change)

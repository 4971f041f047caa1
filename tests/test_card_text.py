"""A model card as text: nothing that a reader needs to judge the model is left out."""

from dataclasses import replace

from leukoscope.models.bundle import Card, CropRule
from leukoscope.models.card_text import card_text
from leukoscope.models.words import WordRule
from leukoscope.taxonomy import BLOOD_12, Attribute, AttributeSet

CARD = Card(
    name="toy-classifier",
    task="classify",
    onnx_sha256="ab" * 32,
    input_size=(224, 224),
    white_balance=True,
    taxonomy=BLOOD_12,
    crop=CropRule(size=224, pad_fraction=0.25, pad_um=4.0),
    temperature=1.2345678,
    thresholds={},
    training={"sets": [{"name": "pbc", "licence": "CC BY 4.0", "fields_sha256": "cd" * 32}], "epochs": 5, "seed": 1},
    results=(
        {"on": "pbc test", "measure": "macro-F1", "value": 0.91234},
        {"on": "jtsc", "measure": "accuracy", "value": 0.87, "note": "a|b"},
    ),
    confusion={"names": ["lymphocyte", "monocyte"], "counts": [[9, 1], [2, 8]], "on": "pbc test"},
    limits=("No myeloblasts were seen in training.",),
    licence="Apache-2.0",
    description="A toy.",
)


def test_everything_on_the_card_is_in_the_text():
    text = card_text(CARD)
    for said in (
        "toy-classifier",
        "A toy.",
        "ab" * 32,
        "224 x 224",
        "white-balanced",
        "pad_fraction 0.25",
        "1.235",
        "pbc",
        "CC BY 4.0",
        "cd" * 32,
        "0.9123",
        "No myeloblasts",
        "Apache-2.0",
        "Research use only",
        "Blasts: lymphoblast",
    ):
        assert said in text


def test_tables_are_well_formed():
    lines = card_text(CARD).splitlines()
    assert "| on | measure | value | note |" in lines
    assert "| pbc test | macro-F1 | 0.9123 |  |" in lines
    assert "| jtsc | accuracy | 0.87 | a\\|b |" in lines
    assert "| lymphocyte | 9 | 1 |" in lines and "| monocyte | 2 | 8 |" in lines
    assert "- on: pbc test" in lines


def test_a_card_says_which_words_are_shown_and_how_sure():
    pair = tuple(Attribute(n, "cell", ("small", "large"), ("small", "large"), ("s", "l")) for n in ("size", "bulk"))
    measured = ({"attribute": "size", "macro_f1": 0.91234, "shown": 0.8, "right": 0.95}, {"attribute": "bulk"})
    rule = WordRule(AttributeSet("two", pair), ("monocyte",), (1.0, 2.0), (0.75, None), "By a rule", measured)
    lines = card_text(replace(CARD, attributes=rule)).splitlines()
    assert "Attribute set two, for cells called monocyte. By a rule." in lines
    assert "| size | small, large | 0.9123 | 0.75 | 0.8 | 0.95 |" in lines
    assert "| bulk | small, large |  | never |  |  |" in lines
    assert not any("## Words" in line for line in card_text(CARD).splitlines())

"""A model card as text: nothing that a reader needs to judge the model is left out."""

from leukoscope.models.bundle import Card, CropRule
from leukoscope.models.card_text import card_text
from leukoscope.taxonomy import BLOOD_12

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

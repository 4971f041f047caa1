"""The reading room's settings: keys, costs, what must hold before signing; what is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")

from leukoscope.errors import InputError
from leukoscope.taxonomy import BLOOD_12
from leukoscope.web.settings import default_settings, read_settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sign]\nblasts = 'never'", "sign.blasts"),
        ("[sign]\nseen = 2", "sign.seen"),
        ("[sign]\nroles = ['chief']", "sign.roles"),
        ("[keys]\nmonocyte = 'mo'", "keys.monocyte"),
        ("[keys]\nmonocyte = 'z'", "keys.monocyte"),
        ("[costs]\nrows = [{truth = 'blasts', called = ['*'], cost = 1}]", "row 1"),
        ("[colours]\n", "colours"),
        ("x = ", "TOML"),
    ],
)
def test_wrong_settings_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_settings(text)


def test_settings_give_every_class_a_key_and_missed_blasts_cost_most():
    settings = default_settings()
    keys = settings.keys_of(BLOOD_12)
    assert len(set(keys.values())) == len(keys) == len(BLOOD_12.names) + 2
    costs = settings.cost_matrix(BLOOD_12)
    blast, normal = BLOOD_12.index("lymphoblast"), BLOOD_12.index("lymphocyte")
    assert costs[blast, normal] == costs.max() > costs[normal, blast] > costs[normal, BLOOD_12.index("monocyte")]
    assert (costs.diagonal() == 0).all()

"""Logits are multiplied by more where a cell looks like those of training: by its distance to the nearest class."""

import numpy as np
import pytest

from leukoscope.errors import ConfigError

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.models.torch_nearness import nearness_scale  # noqa: E402
from leukoscope.train.classifier.config import check_nearness  # noqa: E402

NEAR, FAR, MOST = 0.5, 1.0, 1.5


@pytest.fixture
def drawn():
    """(means (C, M), unit (M,)) of three classes."""
    rng = np.random.default_rng(3)
    return rng.normal(5, 2, (3, 8)), rng.uniform(0.5, 2, 8)


def test_it_follows_the_distance_to_the_nearest_class(drawn):
    means, unit = drawn
    scale = nearness_scale(means, unit, near=NEAR, far=FAR, most=MOST)
    away = np.array([0.0, 0.4, 0.75, 0.9, 1.0, 4.0])
    cells = means[1] + away[:, None] / unit  # each feature `away` units from the second class
    true = np.sqrt((((cells[:, None] - means) * unit) ** 2).mean(2)).min(1)
    wanted = MOST ** np.clip((FAR - true) / (FAR - NEAR), 0, 1)
    assert len(np.unique(wanted.round(3))) >= 4
    found = scale(torch.from_numpy(cells).float()).numpy()[:, 0]
    assert np.abs(found - wanted).max() < 1e-4
    alone = scale(torch.from_numpy(cells[2:3]).float()).numpy()[0, 0]
    assert alone == pytest.approx(found[2], abs=1e-6)


@pytest.mark.parametrize(
    "odd",
    [{"near": 0.6}, {"near": 0.9, "far": 0.8, "most": 1.4}, {"near": 0.6, "far": 0.8, "most": 0.9},
     {"near": "0.6", "far": 0.8, "most": 1.4}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(odd):
    with pytest.raises(ConfigError, match="nearness"):
        check_nearness(odd)
    check_nearness({})

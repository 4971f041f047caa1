"""A training configuration is one TOML file, and whatever doesn't fit it is an error that names the key."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from leukoscope.errors import ConfigError
from leukoscope.train.config import build_config, read_toml


@dataclass(frozen=True)
class Settings:
    name: str
    rate: float
    steps: int = 3
    start: str | None = None
    deep: bool = False
    splits: tuple = ("train",)
    sets: dict = field(default_factory=dict)


def test_reads_every_kind_of_value(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('name = "a"\nrate = 1\nstart = "runs/x"\ndeep = true\nsplits = ["train", "val"]\n[sets]\nx = 0.5\n')
    got = build_config(Settings, read_toml(path), path)
    assert got == Settings("a", 1.0, 3, "runs/x", True, ("train", "val"), {"x": 0.5})
    assert isinstance(got.rate, float)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "a", "rate": 1.0, "stepz": 4}, "stepz"),
        ({"name": "a"}, "missing key rate"),
        ({"name": "a", "rate": "fast"}, "rate must be float"),
        ({"name": "a", "rate": 1.0, "steps": True}, "steps must be int"),
        ({"name": "a", "rate": 1.0, "steps": 2.5}, "steps must be int"),
        ({"name": "a", "rate": 1.0, "deep": 1}, "deep must be bool"),
    ],
)
def test_refuses_what_does_not_fit(values, said):
    with pytest.raises(ConfigError, match=said):
        build_config(Settings, values, "c.toml")


def test_says_what_is_wrong_with_the_file(tmp_path):
    with pytest.raises(ConfigError, match="can't read"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "bad.toml")

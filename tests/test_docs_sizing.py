"""The sizing page says what was measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_sizing_page_has_the_measured_numbers():
    spec = importlib.util.spec_from_file_location("make_sizing", ROOT / "docs" / "make_sizing.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = (ROOT / "docs" / "sizing.md").read_text("utf-8")
    assert made.page(text) == text
    assert "images an hour and core**" in text and "10^9" in text

"""Heavy packages of the tests, loaded by the test that uses them: each worker collects every file."""

from __future__ import annotations

import importlib
import importlib.util

import pytest


class Later:
    """A module, `sklearn.metrics` or `highdicom.ann`, that is loaded at its first use. Without its package the file's
    tests are skipped, as by `pytest.importorskip`."""

    def __init__(self, name: str, *, reason: str = "") -> None:
        package = name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(reason or f"{package} is not installed", allow_module_level=True)
        self._name = name

    def __getattr__(self, attribute: str):
        return getattr(importlib.import_module(self._name), attribute)

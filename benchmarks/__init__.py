"""Measurements: `python -m benchmarks` lists them by topic, each writes its file in benchmarks/results.

They draw what they need with the tests' own makers (`data.make_…`), so tests/ is on the path.
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parent.parent / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)

"""A run's photographs in little memory: what comes out is what went in."""

from __future__ import annotations

import pytest

from leukoscope.images.slides import Region
from leukoscope.pipeline.packed import PackedSources
from leukoscope.pipeline.sources import Source, Unread
from leukoscope.types import FieldKey


def source(file: str, patient: str = "anna", part=None) -> Source:
    return Source(file, FieldKey(file, "smear", patient, "unknown", "blood"), part)


def test_every_source_comes_back_as_it_was():
    region = Region((0, 0, 9, 9), (1, 1, 8, 8), (1, 1, 8, 8), 0.25, None, "ab" * 32)
    sources = [
        source("a/1.jpg"),
        source("ä/\udcff 2.jpg"),  # bytes that are no text, as the system gives them
        source("", "bert"),
        source("s.svs", "bert", region),
        source("t.svs", "bert", Unread("unsupported", None, None)),
    ]
    packed = PackedSources(sources)
    assert list(packed) == sources and len(packed) == 5
    assert packed[-1] == sources[-1] and packed[1:4] == sources[1:4] and packed[4:1:-2] == sources[4:1:-2]
    assert list(PackedSources([])) == []
    with pytest.raises(IndexError):
        packed[5]

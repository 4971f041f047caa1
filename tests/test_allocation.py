"""Freed memory: kept while a processor trains, given back after it, and nothing done with another C library."""

from __future__ import annotations

import ctypes
import resource

import numpy as np
import pytest

from leukoscope import allocation


def faults_of_a_step() -> int:
    """Page faults of asking for 40 MB, writing it and giving it back."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(allocation._glibc() is None, reason="the C library is not glibc")
def test_the_next_step_pays_for_no_page_again_until_the_end():
    with allocation.freed_memory_kept() as kept:
        first, *later = (faults_of_a_step() for _ in range(4))
    assert kept and max(later) < max(first, 20) / 10
    assert max(later) < faults_of_a_step() / 10  # the usual settings: blocks above 32 MB go back at once


def test_nothing_happens_without_glibc(monkeypatch):
    def missing(name):
        raise TypeError("no library of all names")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with allocation.freed_memory_kept() as kept:
        assert not kept

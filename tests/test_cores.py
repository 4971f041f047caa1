"""What a run takes of the machine: numpy's own threads stay away from the run's."""

from __future__ import annotations

import pytest
from data.make_bundles import draw_field, make_model
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

from leukoscope.cores import one_blas_thread
from leukoscope.pipeline import analyze, threads


def blas_threads() -> set[int]:
    """The number of threads of each BLAS that is loaded."""
    return {blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def test_products_are_on_one_thread_and_on_as_many_as_before_afterwards():
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert blas_threads() == {2}


def test_an_analysis_runs_on_one_and_leaves_what_was(tmp_path, monkeypatch):
    seen = []
    analysed = threads.FieldAnalyzer.__call__
    monkeypatch.setattr(
        threads.FieldAnalyzer, "__call__", lambda self, *given: (seen.append(blas_threads()), analysed(self, *given))[1]
    )
    Image.fromarray(draw_field(120, 160, [])).save(tmp_path / "field.png")
    analyze([tmp_path / "field.png"], tmp_path / "out", model=make_model(tmp_path / "model"))
    assert seen == [{1}] and blas_threads() == {2}

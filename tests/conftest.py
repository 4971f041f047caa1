"""What several test files share: where the real images are, and quiet numeric threads."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

# The suite runs on two cores: one thread a library, so that timings and float sums don't depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Beside a processor-only torch, torchvision (of the extra `yolo`) may not find its operators.
if importlib.util.find_spec("torchvision"):
    from data.torchvision_nms import provide

    provide()

# A busy machine is no failure: a test's time says nothing about its answer.
settings.register_profile("leukoscope", deadline=None)
settings.load_profile("leukoscope")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images: $LEUKOSCOPE_SHARED, else ../shared/data beside the checkout; skips where neither is."""
    path = Path(os.environ.get("LEUKOSCOPE_SHARED", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real images here ({path} is absent): the fabricated sets are tested in every checkout")
    return path


@pytest.fixture
def one_thread():
    """Torch on one thread: sums in the same order each time, and quick where tests run side by side."""
    torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""What several test files share: where the real images are, and quiet numeric threads."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers begin with half of the tests each: what trains is in the first half, so that only one of them loads
    torch's compiler and exporters; what draws, serves or lints for seconds begins the second, so that it ends in time.
    """
    trains, long, plain = [], [], []
    texts = {path: path.read_text("utf-8") for path in {item.path for item in items}}
    for item in items:
        text = texts[item.path]
        (trains if 'importorskip("torch"' in text else long if "mark.slow" in text else plain).append(item)
    cut = max(len(items) // 2 - len(trains), 0)
    items[:] = [*trains, *plain[:cut], *long, *plain[cut:]]


def pytest_collection_finish() -> None:
    """What collecting made stays to the end: the collector need not walk it again and again (2 of 56 s of training)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


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


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A tiny model that finds and names the cells of `make_bundles.draw_field`; a test that spoils it copies it."""
    from data.make_bundles import make_model

    return Path(make_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def browser():
    """Chromium; without it the tests are skipped, where CI is "true" they fail."""
    api = pytest.importorskip("playwright.sync_api", reason="no browser was found: playwright is not installed")
    found = next((p for p in map(shutil.which, ("/usr/bin/chromium", "chromium", "google-chrome")) if p), None)
    if found is None:
        message = "no browser was found: install chromium to test the pages in one"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """The reading room with accounts on a socket (`data.web_room.Room`): Anna the admin, Ben and Cleo, readers."""
    pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
    from data.web_room import room_with_accounts

    with room_with_accounts(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
def command(capsys):
    """Run one command in this process: (exit code, stdout, stderr)."""

    from leukoscope.cli import main

    def call(*argv):
        try:
            code = main([str(a) for a in argv])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def painted_sets(tmp_path):
    """Two painted sets of single cells: on smears, and cut out on black."""
    from data.make_painted_cells import paint

    smears = paint(tmp_path, "smears", ["lymphocyte", "monocyte", "neutrophil"])
    cutouts = paint(tmp_path, "cutouts", ["lymphoblast", "lymphoid_precursor"], black=True)
    return [smears, cutouts]


@pytest.fixture
def one_thread():
    """Torch on one thread: sums in the same order each time, and quick where tests run side by side."""
    torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

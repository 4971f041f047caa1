"""What a newcomer meets first: `make demo` from nothing, and a report of a large run in a real browser.

    python -m benchmarks.pages.first_hour [--patients 100] [--cells 20000] [--skip-demo] [--dry-run]

The demo runs in a fresh checkout of HEAD with an empty home and no package cache, so its time holds the downloads. The
large run is drawn (tests/data/make_record.py), its cells cut out as `analyze` does. Chromium opens the index and the
largest patient page with an empty cache; first paint is the browser's own "first-contentful-paint".

Writes benchmarks/results/first_hour.csv.
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.verdicts import judged

ROOT = Path(__file__).resolve().parents[2]


def main(args: Args) -> Rows:
    rows = [] if args.skip_demo else measure_demo()
    rows += measure_report(args.patients, args.cells)
    rows = [judged(row) for row in rows]
    yield from rows


def measure_demo() -> list[dict]:
    """`make demo` in a fresh checkout: seconds, true ratios in the printed intervals, blasts called blasts."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["git", "clone", "-q", str(ROOT), f"{work}/checkout"], check=True)
        home = Path(work) / "home"
        home.mkdir()
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        load, start = round(os.getloadavg()[0]), time.perf_counter()
        done = subprocess.run(
            ["make", "demo"], cwd=f"{work}/checkout", capture_output=True, text=True,
            env=keep | {"HOME": str(home), "PIP_NO_CACHE_DIR": "1"},
        )  # fmt: skip
        seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        print(done.stdout, done.stderr, file=sys.stderr)
    patients = re.findall(r"^rendered-\S+ .* (yes|NO)$", done.stdout, re.MULTILINE)
    called, drawn = map(int, re.search(r"called blasts: (\d+) of (\d+)", done.stdout).groups())
    return [
        row("make demo, empty home", f"seconds, downloads included, {load} other processes waiting",
            round(seconds, 1), "<= 60"),
        row("make demo, empty home", "processor seconds", round(used.ru_utime + used.ru_stime, 1), "<= 120"),
        row("make demo, empty home", f"of {len(patients)} patients, true ratio in the printed interval",
            patients.count("yes"), str(len(patients))),
        row("make demo, empty home", f"of {drawn} drawn blasts, called blasts", round(called / drawn, 4), ">= 0.9"),
    ]  # fmt: skip


def measure_report(n_patients: int, n_cells: int) -> list[dict]:
    """A drawn run's report: seconds to first paint, the largest page, what axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    from leukoscope.report import write_report

    on = f"report, {n_patients} patients, {n_cells:,} cells"
    with tempfile.TemporaryDirectory() as work:
        paths = draw_run(Path(work), n_patients, n_cells)
        index = Path(work) / "report.html"
        start = time.perf_counter()
        write_report(paths["record"], paths["thumbs"], index)
        print(f"written in {time.perf_counter() - start:.1f} s", file=sys.stderr)
        pages = sorted((Path(work) / "patients").glob("*.html"), key=lambda p: p.stat().st_size)
        opened = [index, *pages[-1:]]
        paints, found = [], []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            for path in opened:
                paints.append(min(first_paint(browser, path) for _ in range(3)))
                for width in (390, 1440):
                    page = browser.new_page(viewport={"width": width, "height": 900}, bypass_csp=True)
                    page.goto(path.as_uri())
                    found += [v["id"] for v in Axe().run(page).response["violations"]]
                    page.close()
            browser.close()
        largest = max(p.stat().st_size for p in [index, *pages]) / 1e6
    return [
        row(on, "seconds to first paint, the slower of index and largest page", round(max(paints), 3), "<= 1"),
        row(on, "largest page, MB", round(largest, 3), "<= 3"),
        row(on, f"axe-core violations on both, two widths{': ' + ', '.join(sorted(set(found))) if found else ''}",
            len(found), "0"),
    ]  # fmt: skip


def draw_run(out: Path, n_patients: int, n_cells: int) -> dict[str, Path]:
    """A run as `analyze` leaves it: record.json, and each cell's pictures."""
    from data import make_record

    from leukoscope.pipeline.cell_pictures import cell_pictures, model_views
    from leukoscope.report import read_record

    per_field = 10
    paths = make_record.make_run(out, n_patients=n_patients, n_fields=-(-n_cells // per_field), n_cells=per_field)
    record = read_record(paths["record"])
    with open(paths["thumbs"], "w", encoding="ascii") as lines:
        for at, field in enumerate(record.fields()):
            if not field["cells"]:
                continue
            pixels = np.asarray(Image.open(field["file"]).convert("RGB"))
            models = model_views(np.stack([pixels[n : 96 + n, :96] for n in range(len(field["cells"]))]), None)
            for number, picture in enumerate(cell_pictures(pixels, field["cells"], record.taxonomy.blasts, models)):
                jpeg, model = (base64.b64encode(b).decode("ascii") for b in (picture.photo, picture.model))
                line = {"field": at, "cell": number, "jpeg": jpeg, "px": picture.side_px, "large": picture.large}
                lines.write(json.dumps(line | {"model": model}) + "\n")
    return paths


def first_paint(browser, path: Path) -> float:
    """Seconds from the start of navigation to the first contentful paint, in a context of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(path.as_uri())
    script = "performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)"
    page.wait_for_function(f"{script}.length > 0")
    (milliseconds,) = page.evaluate(script)
    context.close()
    return milliseconds / 1000


def chromium() -> str:
    """The installed browser."""
    found = next((p for p in map(shutil.which, ("chromium", "google-chrome")) if p), None)
    if found is None:
        raise SystemExit("no browser was found: install chromium")
    return found


def row(on: str, measure: str, value: float, threshold: str) -> dict:
    return {"set": on, "measure": measure, "value": value, "threshold": threshold, "met": ""}


if __name__ == "__main__":
    benchmark(
        main, option("--patients", type=int, default=100), option("--cells", type=int, default=20_000),
        option("--skip-demo", action="store_true", help="leave the demo's rows out"),
    )  # fmt: skip

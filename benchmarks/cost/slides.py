"""Whole slides: memory, time by stage, cells at borders, TIFF beside DICOM, and the monolayer finder against the truth.

    python -m benchmarks.cost.slides [--size 60000x40000] [--whole-size 12000x8000] [--regions 24] [--keep DIR]
        [--dry-run]

Slides are drawn (leukoscope.simulate.slide) with every white cell and the monolayer known, and written as pyramidal
TIFF and DICOM. The large one is looked over whole, and `--regions` of its regions, in the middle of the monolayer, are
analysed; the smaller one is analysed whole. Each analysis is a process of its own with one worker, as a user runs it;
peak memory is the kernel's. Stages are in processor seconds, which other jobs on the machine do not lengthen.

A border cell is a true cell of the counted area whose middle lies within 15 µm of a border between two regions. It is
lost when the same locator finds it in a window with the cell in its middle and the record has it nowhere.

Writes benchmarks/results/slides.csv.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import wraps
from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, again, benchmark, hidden, option, peak_mib
from leukoscope.images.slides import open_slide
from leukoscope.locate import locate
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.report import counted_cells, read_record
from leukoscope.simulate.slide import SlideOptions
from leukoscope.simulate.slide_files import simulate_slide
from leukoscope.types import Field, FieldKey

MOST_GB, LEAST_IOU, NEAR_UM, SAME_UM = 1.5, 0.85, 15.0, 4.0
MODEL, LOCATOR = "rendered", "blood"
SEED = 17


def main(args: Args) -> Rows:
    if args.one:
        print(json.dumps(one_run(*args.one)))
        return
    with tempfile.TemporaryDirectory() as work:
        keep = Path(args.keep or work)
        rows = [row for size, n in ((args.size, args.regions), (args.whole_size, 0)) for row in measure(keep, size, n)]
    yield from rows


def measure(keep: Path, size: str, n_regions: int) -> list[dict]:
    """The rows of one slide, from both files; n_regions: of them analysed, 0: all."""
    folder = keep / size
    if not (folder / "truth.json").exists():
        width, height = map(int, size.split("x"))
        simulate_slide(folder, SlideOptions(width, height, SEED))
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    rows, records = [], {}
    for kind, path in (("TIFF", folder / "slide.tif"), ("DICOM", folder / "dicom")):
        out = Path(tempfile.mkdtemp(dir=keep)) / "out"
        said = child(path, out, n_regions)
        records[kind] = read_record(out / "record.json")
        what = {"slide": size, "file": kind, "regions": said["regions"]}
        rows.append(row(what, "peak memory of analyze, GB", said["peak_gb"], f"<= {MOST_GB}"))
        for stage, (seconds, mm2) in said["stages"].items():
            rows.append(row(what, f"{stage}, processor s a mm²", round(seconds / mm2, 3)))
        overlap = iou(records[kind].slides[0], truth)
        rows.append(row(what, "monolayer, IoU with the true one", overlap, f">= {LEAST_IOU}"))
        if kind == "TIFF":
            rows += borders(what, records[kind], truth, folder / "slide.tif")
    differs = sum(a != b for a, b in zip(alike(records["TIFF"]), alike(records["DICOM"]), strict=True))
    both = {"slide": size, "file": "TIFF and DICOM"}
    rows.append(row(both, "fields and patients that differ between both", differs, "<= 0"))
    return rows


def row(what: dict, measured: str, value: float, threshold: str = "") -> dict:
    """A row of the table."""
    return what | {"measure": measured, "value": value, "threshold": threshold}


def child(path: Path, out: Path, n_regions: int) -> dict:
    """`one_run` in a process of its own."""
    command = again("--one", path, out, n_regions)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def one_run(path: str, out: str, n_regions: str) -> dict:
    """Analyse; peak memory, and for each stage its processor seconds and the mm² that they were spent on."""
    from leukoscope.pipeline import fields, photographs, slides

    spent: dict[str, float] = defaultdict(float)
    run = sys.modules["leukoscope.pipeline.analyze"]

    def timed(module, name: str, stage: str) -> None:
        inner = getattr(module, name)

        @wraps(inner)
        def outer(*args, **more):
            start = time.process_time()
            try:
                return inner(*args, **more)
            finally:
                spent[stage] += time.process_time() - start

        setattr(module, name, outer)

    timed(slides, "slide_digest", "digest")
    timed(slides, "survey", "look over the slide")
    timed(slides, "_red_cells", "red cells")
    timed(photographs, "read_region", "read and decode regions")
    timed(fields, "check_quality", "quality")
    timed(fields, "locate_balanced", "locate")
    timed(fields.FieldAnalyzer, "_classified", "crop and classify")
    timed(fields, "cell_pictures", "pictures of cells")
    timed(run, "write_report", "report")
    plan = run.plan_slides

    def few(sources, *args, **more):
        planned, plans = plan(sources, *args, **more)
        n = int(n_regions)
        if n and len(planned) > n:  # those in the middle of the monolayer, so that they have borders in common
            corners = np.array([p.part.core[:2] for p in planned], float)
            near = np.argsort(np.hypot(*(corners - np.median(corners, axis=0)).T), kind="stable")[:n]
            planned = [planned[k] for k in sorted(near)]
        return planned, plans

    run.plan_slides = few
    start = time.process_time()
    record = analyze([path], out, model=MODEL, options=AnalyzeOptions(locator=LOCATOR, workers=1))
    total = time.process_time() - start
    read = read_record(record)
    slide, cores = read.slides[0], [f["region"]["core"] for f in read.fields()]
    um = slide["um_per_px"] / 1000
    analysed = sum((c[2] - c[0]) * (c[3] - c[1]) for c in cores) * um * um
    whole = slide["width"] * slide["height"] * um * um
    of_whole = ("digest", "look over the slide", "red cells")
    stages = {name: (seconds, whole if name in of_whole else analysed) for name, seconds in spent.items()}
    stages["everything but looking over"] = (total - sum(spent[s] for s in of_whole), analysed)
    return {"peak_gb": round(peak_mib() * 2**20 / 1e9, 3), "stages": stages, "regions": len(cores)}


def iou(slide: dict, truth: dict) -> float:
    """Of the tiles that are counted and the drawn monolayer, on the truth's grid."""
    true = np.array([[c == "M" for c in line] for line in truth["monolayer"]["map"]])
    found = np.array([[c == "M" for c in line] for line in slide["map"]])
    step = truth["monolayer"]["step_px"] / slide["tile_px"]
    rows, columns = (((np.arange(n) + 0.5) * step).astype(int) for n in true.shape)
    seen = found[np.ix_(rows, columns)]
    return round(float((seen & true).sum() / (seen | true).sum()), 4)


def borders(what: dict, record, truth: dict, path: Path) -> list[dict]:
    """Rows about true cells at borders between analysed regions: how many, counted twice, lost."""
    um = truth["um_per_px"]
    cores = np.array([f["region"]["core"] for f in record.fields()], float)
    places = []
    for field in record.fields():
        x, y = field["region"]["box"][:2]
        places += [((b[0] + b[2]) / 2 + x, (b[1] + b[3]) / 2 + y) for b in (c["box"] for c in counted_cells(field))]
    places = np.array(places).reshape(-1, 2)
    boxes = np.array([c["box"] for c in truth["cells"]])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = NEAR_UM / um
    inside = within(middles, cores).any(1)
    # On a border between two regions: a step to some side leads into another core.
    own = within(middles, cores).argmax(1)
    steps = near * np.array([(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy])
    other = np.zeros(len(middles), bool)
    for step in steps:
        beside = within(middles + step, cores)
        other |= beside.any(1) & (beside.argmax(1) != own)
    at_border = np.flatnonzero(inside & other)
    hits = np.array([(np.hypot(*(places - middles[k]).T) < SAME_UM / um).sum() for k in at_border], int)
    missed = at_border[hits == 0]
    lost = sum(found_alone(path, middles[k], um) for k in missed)
    twice = int((hits > 1).sum())
    return [
        row(what, "true cells at borders between regions", len(at_border)),
        row(what, "of these counted twice", twice, "<= 0"),
        row(what, "of these lost at the border", int(lost), "<= 0"),
        row(what, "of these missed by the locator wherever it looks", int(len(missed) - lost)),
    ]


def within(points: np.ndarray, cores: np.ndarray) -> np.ndarray:
    """(N, R) bool: which points lie in which cores."""
    x, y = points[:, :1], points[:, 1:]
    return (x >= cores[:, 0]) & (x < cores[:, 2]) & (y >= cores[:, 1]) & (y < cores[:, 3])


def found_alone(path: Path, middle: np.ndarray, um: float) -> bool:
    """Whether the locator finds a cell in a window with the cell in its middle."""
    slide = open_slide(path)
    side = round(256 / um)
    x, y = (int(np.clip(m - side / 2, 0, n - side)) for m, n in zip(middle, slide.facts.size, strict=True))
    pixels = slide.read((x, y, x + side, y + side))
    slide.close()
    locator = Session(part_of_model(find_model(LOCATOR), "locate"))
    boxes = locate(Field(FieldKey("f", "s", "p", "c", "blood"), pixels, um), locator).boxes
    found = (boxes[:, :2] + boxes[:, 2:]) / 2 + (x, y)
    return bool(len(found) and np.hypot(*(found - middle).T).min() < SAME_UM / um)


def alike(record) -> list[str]:
    """The record's fields and patients without the names and digests of files, one text each."""
    names = ("file", "sha256", "patient_id", "smear_id", "smear_ids")
    fields = [{k: v for k, v in f.items() if k not in names} for f in record.fields()]
    patients = [{k: v for k, v in p.items() if k not in names} for p in record.patients]
    return [json.dumps(entry) for entry in [*fields, *patients]]


if __name__ == "__main__":
    benchmark(
        main, option("--size", default="60000x40000", help="of the large slide, px"),
        option("--whole-size", default="12000x8000", help="of the slide that is analysed whole, px"),
        option("--regions", type=int, default=24, help="of the large slide that are analysed"),
        option("--keep", help="folder for the slides: drawn where they are not there, and kept"),
        hidden("--one", nargs=3, metavar=("SLIDE", "OUT", "N")),
    )  # fmt: skip

"""How often the drift watch alarms on runs that have not drifted, and whether it does on those that have.

    python -m benchmarks.ratios.drift [--data ../shared/data] [--photographs 364] [--splits 200] [--seed 1] [--work DIR]

The photographs of bccd, analysed with the bundled model and dealt into patients of A_PATIENT photographs. Undrifted:
RUN patients against REFERENCE others, dealt anew each time (what exchangeable patients are), and the first half of the
files against the second, in the order of their names (what a camera and a stainer do over time).
Drifted: photographs of the run recoloured (warmer light, paler stain), under a lamp of four fifths and of half, blurred
(1.5 px), rescaled (0.7 and 0.4 times) and bionet's (another laboratory), against bccd as it is and against the bundle's
reference. Beside each change stands what it does to the cells: how many are found again, and how many of those are
called alike. A reference of the site must see every change; the bundle's, which is of many microscopes, those that
matter: fewer than MATTERS of the cells called alike.
Patients of bccd are not stated: these are not patients, only groups of photographs.

Writes benchmarks/results/drift.csv; --keep-reference writes the bundle's drift.json from the same photographs.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from leukoscope.drift import Profile, find_reference, judge, measure_run, write_profile
from leukoscope.drift.judge import pooled
from leukoscope.entries import CellEntry
from leukoscope.errors import LeukoscopeError
from leukoscope.images import list_images
from leukoscope.models.bundle import BUNDLED
from leukoscope.pipeline import analyze
from leukoscope.report import counted_cells, read_record

A_PATIENT, RUN, REFERENCE = 6, 12, 24
N_DRIFTED = 20  # deals of each drifted kind


def recoloured(image: Image.Image) -> Image.Image:
    """Warmer light and a paler stain."""
    pixels = np.asarray(image, np.float32)
    pale = 255 - (255 - pixels) * np.array([0.75, 0.75, 0.75], np.float32)
    return Image.fromarray(np.clip(pale * np.array([1.0, 0.93, 0.80], np.float32), 0, 255).astype(np.uint8))


def under_a_lamp(share: float) -> Callable[[Image.Image], Image.Image]:
    """Darker light."""
    return lambda image: ImageEnhance.Brightness(image).enhance(share)


def made_smaller(scale: float) -> Callable[[Image.Image], Image.Image]:
    """Another objective."""
    return lambda image: image.resize((int(image.width * scale), int(image.height * scale)))


OTHER = "other laboratory (bionet)"
SCALES = {"rescaled": 0.7, "rescaled, 0.4 times": 0.4}
CHANGES = {
    "recoloured": recoloured,
    "darker": under_a_lamp(0.8),
    "darker, by half": under_a_lamp(0.5),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    **{name: made_smaller(scale) for name, scale in SCALES.items()},
}
MATTERS = 0.95  # of the cells found again: a change that leaves fewer of them called alike must be seen


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        own = list_images(args.data / "bccd" / "JPEGImages")[: args.photographs]
        plain = run_of(work / "plain", own, None)
        other = list_images(args.data / "bionet")[: RUN * A_PATIENT]
        # From all over the set: bccd's own first photographs are not like its last (see the second row).
        step = max(1, len(own) // (RUN * A_PATIENT))
        some = own[::step][: RUN * A_PATIENT]
        changed = {name: run_of(work / name, some, change) for name, change in CHANGES.items()}
        changed[OTHER] = run_of(work / "bionet", other, None)
        kept = {name: kept_calls(work, name, step, scale=SCALES.get(name, 1.0)) for name in CHANGES}
        draaslan = run_of(work / "draaslan", list_images(args.data / "draaslan")[:100], None)
    if args.keep_reference:
        named = replace(pooled([draaslan, changed[OTHER], plain]), name="blood (bccd, draaslan, bionet)")
        write_profile(named, BUNDLED / "blood" / "classifier" / "drift.json", patients=False)
    yield from undrifted_rows(plain, args.splits, random.Random(args.seed))
    matter = {name for name, (_, alike) in kept.items() if alike < MATTERS}
    yield from drifted_rows(plain, changed, args.seed, matter)
    for name, (found, alike) in kept.items():
        named = {"set": f"bccd, {name}"}
        yield named | {"measure": "cells found again, share of those before", "value": found}
        yield named | {"measure": "cells called alike, share of those found again", "value": alike}
    return {"photographs": len(own), "a_patient": A_PATIENT, "run": RUN, "reference": REFERENCE, "seed": args.seed}


def run_of(folder: Path, photographs: list[Path], change) -> Profile:
    """Analyse photographs, changed perhaps, as patients of A_PATIENT; its profile."""
    if not (folder / "out" / "record.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for number, path in enumerate(photographs):
            target = folder / "in" / f"patient{number // A_PATIENT:03}" / f"{number:05}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            if change is None:
                shutil.copyfile(path, target)
                continue
            with Image.open(path) as image:
                change(image.convert("RGB")).save(target, "JPEG", quality=95)
        analyze([folder / "in"], folder / "out")
        print(f"analysed {folder.name}", file=sys.stderr, flush=True)
    return replace(measure_run(folder / "out"), name=folder.name)


def kept_calls(work: Path, name: str, step: int, *, scale: float) -> tuple[float, float]:
    """Of the cells of unchanged photographs the share that is found in the changed ones, and of those the share that is
    called alike: whether a change matters to the numbers. step: one in so many photographs was changed."""
    fields = {
        run: {int(Path(f["file"]).stem): counted_cells(f) for f in read_record(work / run / "out/record.json").fields()}
        for run in ("plain", name)
    }
    n = n_found = n_alike = 0
    for number, cells in fields[name].items():
        middles = np.array([_middle(c, 1 / scale) for c in cells]).reshape(-1, 2)
        for cell in fields["plain"][number * step]:
            n += 1
            apart = np.hypot(*(middles - _middle(cell, 1.0)).T)
            if len(apart) and apart.min() < (cell["box"][2] - cell["box"][0]) / 2:
                n_found += 1
                n_alike += cells[int(apart.argmin())]["class"] == cell["class"]
    return round(n_found / max(n, 1), 4), round(n_alike / max(n_found, 1), 4)


def _middle(cell: CellEntry, scale: float) -> np.ndarray:
    x0, y0, x1, y1 = cell["box"]
    return scale * np.array([x0 + x1, y0 + y1]) / 2


def part(profile: Profile, rows: list[int], name: str) -> Profile:
    """Some of a run's patients; the photographs' quantiles stay the whole run's."""
    return replace(profile, name=name, patients=tuple(profile.patients[r] for r in rows))


def undrifted_rows(plain: Profile, n_splits: int, chance: random.Random) -> list[dict]:
    """The rate of alarms among runs of the same photographs."""
    alarms, by_measure = 0, {}
    patients = list(range(len(plain.patients)))
    for seed in range(n_splits):
        chance.shuffle(patients)
        run, reference = patients[:RUN], patients[RUN : RUN + REFERENCE]
        found = judge(part(plain, run, "run"), part(plain, reference, "reference"), seed=seed)
        drifted = [f.measure for f in found if f.drifted]
        alarms += bool(drifted)
        for measure in drifted:
            by_measure[measure] = by_measure.get(measure, 0) + 1
    half = len(patients) // 2
    halves = judge(part(plain, list(range(half, 2 * half)), "second"), part(plain, list(range(half)), "first"))
    named = {"set": "bccd, undrifted"}
    return [
        named | {"measure": f"runs with an alarm, share of {n_splits}", "value": round(alarms / n_splits, 4),
                 "threshold": "<= 0.05", "alarms": str(by_measure or "none")},
        named | {"measure": "alarms, second half of the files against the first",
                 "value": sum(f.drifted for f in halves),
                 "alarms": ", ".join(f.measure for f in halves if f.drifted) or "none"},
    ]  # fmt: skip


def drifted_rows(plain: Profile, changed: dict[str, Profile], seed: int, matter: set[str]) -> list[dict]:
    """Drifted runs with an alarm, and of what; against bccd's other patients, and against the bundle's reference, which
    must see what matters to the calls."""
    rows = []
    try:
        bundle = find_reference("blood")
    except LeukoscopeError:
        bundle = None
    for name, profile in changed.items():
        chance, alarms, measures = random.Random(seed), 0, {}
        for deal in range(N_DRIFTED):
            run = sorted(chance.sample(range(len(profile.patients)), min(RUN - 2, len(profile.patients))))
            others = chance.sample(range(len(plain.patients)), REFERENCE)
            found = judge(part(profile, run, name), part(plain, others, "bccd"), seed=deal)
            drifted = [f.measure for f in found if f.drifted]
            alarms += bool(drifted)
            for measure in drifted:
                measures[measure] = measures.get(measure, 0) + 1
        said = {"set": f"bccd, {name}" if "other" not in name else name}
        rows.append(said | {"measure": f"runs with an alarm, share of {N_DRIFTED}", "value": alarms / N_DRIFTED,
                            "threshold": ">= 0.95", "alarms": str(measures or "none")})  # fmt: skip
        if bundle is not None:
            against = [f.measure for f in judge(profile, bundle) if f.drifted]
            within = {"threshold": ">= 1"} if name in matter else {}
            rows.append(said | {"measure": "measures outside the bundle's reference", "value": len(against),
                                "alarms": ", ".join(against) or "none"} | within)  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--photographs", type=int, default=364), option("--splits", type=int, default=100),
        option("--seed", type=int, default=1),
        option("--work", help="folder for the runs; those that are there are taken"),
        option("--keep-reference", action="store_true", help="write the bundled classifier's drift.json"),
    )  # fmt: skip

"""`leukoscope adapt --locator`: a locator fitted to a new camera by some dozens of corrected fields.

A new camera is where locators collapse. The network goes on learning from the corrected fields and, so that it does not
forget, from others replayed beside them; then the new weights are mixed with the old ones. It is written only where it
finds more on fields that had no part in it, and nothing is lost at home.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.dataset.splits import split_by_patient
from leukoscope.errors import DataError, InputError
from leukoscope.evaluate.boxes import mean_ap
from leukoscope.files import copy_folder
from leukoscope.locate import letterbox
from leukoscope.models.bundle import Bundle, find_model, part_of_model, write_card
from leukoscope.models.runtime import Session
from leukoscope.models.torch_locator import LocatorNet
from leukoscope.progress import Progress, no_progress
from leukoscope.simulate import CohortOptions, simulate_cohort
from leukoscope.train.adapt.locator_fields import (
    Found,
    gain_of,
    group_of,
    match_fields_of,
    measure_rulers,
    score_fields,
    tile_photos,
    view_of,
)
from leukoscope.train.adapt.locator_network import read_locator_network, write_locator
from leukoscope.train.checkpoint import run_mark, settings_fingerprint
from leukoscope.train.fields import seen_fields
from leukoscope.train.locator.config import LocatorConfig
from leukoscope.train.locator.data import is_white
from leukoscope.train.locator.task import fit_locator

LEAST_FIELDS = 6  # with a cell: fewer can't be divided into what is learnt from and what is measured on
HELD_OUT = 1 / 3  # of the fields: what is measured on them is what ships, and nothing is trained twice
MOST_LOST = 0.01  # of AP50, at home and on the new camera
SITE_SHARE = 0.6  # of the training pictures; the rest is replayed
OLD_SHARE = 0.3  # of the finished weights: what the locator knew stays
MOST_REPLAYED, MOST_WATCHED = 400, 60  # fields of each set that is replayed; of each that is watched
RENDERED = CohortOptions("blood", patients=6, centers=3, seed=7, fields_per_patient=2)


@dataclass(frozen=True, slots=True)
class LocatorAdapted:
    """What came of it: fields and cells learnt from, fields held out by `unit` ("patient" or "photograph"), what is
    found on those before and after, the gain in AP50-95, and AP50 at home: {set: (before, after)}."""

    n_fields: int
    n_cells: int
    n_held: int
    unit: str
    before: Found
    after: Found
    gain: dict
    home: dict[str, tuple[float, float]]

    def lines(self) -> list[str]:
        """What to print, a line a measure."""
        lines = [
            f"learnt from {self.n_fields} fields with {self.n_cells} cells; measured on {self.n_held} fields held out, "
            f"by {self.unit}"
        ]
        for name, key in (
            ("AP50", "ap50"), ("AP50-95", "ap50_95"), ("cells found", "recall"),
            ("false boxes a field", "false_per_field"),
        ):  # fmt: skip
            lines.append(
                f"{name}: {_shown(getattr(self.before, key))} before, {_shown(getattr(self.after, key))} after"
            )
        lines += [f"at home, {name}: AP50 {a:.3f} before, {b:.3f} after" for name, (a, b) in self.home.items()]
        return [*lines, f"gain in AP50-95: {_shown(self.gain)}"]


def _shown(values: dict) -> str:
    return f"{values['value']:.3f} (95 % limits {values['low']:.3f} to {values['high']:.3f})"


def adapt_locator(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    replay: Sequence[str | Path] = (),
    resume: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LocatorAdapted:
    """Fit a model's locator to corrected fields and write it into folder `out`, with the model's other parts beside it.

    model   a bundled model's name, or a model folder with a locator of this project
    data    a data set folder whose fields have every white cell boxed, of any class or none; a set that states a split
            "val" or "test" is measured on that, any other is divided by patient (of one patient: by photograph)
    replay  data set folders of cameras that the locator knows, learnt beside the new ones and watched; none given:
            rendered fields
    resume  go on with a run that was stopped; the weights are those of a run that was not
    InputError where the fitted locator is not better on the fields held out (AP50-95), or loses more than 0.01 of AP50
    there or at home: then nothing is written. DataError for fewer than LEAST_FIELDS fields with a cell.
    """
    models, out = find_model(model), Path(out)
    bundle, run = part_of_model(models, "locate"), out / "locator-training"
    read_locator_network(bundle)  # refused before any work
    learnt, held, unit = divide(read_dataset(data), seed=seed)
    run_mark(run, resume=resume)
    run.mkdir(parents=True, exist_ok=True)
    homes = [divide(read_dataset(folder), seed=seed)[:2] for folder in replay or [_rendered(run)]]
    network = _fit(bundle, [learnt, *(thinned(h, MOST_REPLAYED, seed) for h, _ in homes)], run, seed, progress)
    adapted = _measure(bundle, network, (learnt, held, unit), [thinned(h, MOST_WATCHED, seed) for _, h in homes], run)
    better = _is_better(adapted)
    if better:
        _put_beside(models, run / "bundle", out)
    shutil.rmtree(run)
    if not better:
        if not any(out.iterdir()):
            out.rmdir()
        raise InputError(_refusal(adapted))
    return adapted


def divide(dataset: Dataset, *, seed: int) -> tuple[Dataset, Dataset, str]:
    """The fields to learn from, the fields to measure on, and what was kept together ("patient", "photograph")."""
    filled = [f for f in dataset.fields if any(is_white(c) for c in f.cells)]
    if len(filled) < LEAST_FIELDS:
        raise DataError(
            f"{dataset.name} has {len(filled)} fields with a white cell: adapting a locator needs {LEAST_FIELDS} at "
            "least, and some dozens to be worth it; correct more fields"
        )
    patients = {f.key.patient_id for f in dataset.fields}
    unit = "patient" if "" not in patients and len(patients) > 1 else "photograph"
    if not any(f.split in ("val", "test") for f in dataset.fields):
        shares = {"train": 1 - HELD_OUT, "val": HELD_OUT}
        dataset = split_by_patient(dataset, shares, seed=seed, group=lambda f: group_of(f, unit))
    held = replace(dataset, fields=tuple(f for f in dataset.fields if f.split in ("val", "test")))
    (learnt,) = seen_fields([dataset], ("train",))
    for part, what in ((learnt, "learn from"), (held, "measure on")):
        if not any(is_white(c) for f in part.fields for c in f.cells):
            raise DataError(f"{dataset.name} has no field with a white cell to {what}: correct more, or split anew")
    return learnt, held, unit


def site_config(bundle: Bundle, *, seed: int) -> LocatorConfig:
    """The settings of one run: short, at low rates, its early blocks at rest."""
    return LocatorConfig(
        name=bundle.card.name, steps=100, side=max(bundle.card.input_size), batch_size=8, learning_rate=4e-4,
        backbone_rate=1e-4, frozen_blocks=11, ema=0.97, colour_strength=0.7, own_colour=0.5, plain=0.6, transpose=False,
        touching=0.15, fold=True, white_balance=bundle.card.white_balance, memory_px=480, seed=seed,
    )  # fmt: skip


def thinned(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most `most` fields, at random, in the order that they had."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset.fields))[:most])
    return replace(dataset, fields=tuple(dataset.fields[i] for i in rows))


def _rendered(run: Path) -> Path:
    """Rendered fields, in the run's folder; a run that goes on finds them there."""
    folder = run / "rendered"
    if not (folder / "dataset.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        simulate_cohort(folder, RENDERED)
    return folder


def _fit(bundle: Bundle, sets: list[Dataset], run: Path, seed: int, progress: Progress) -> LocatorNet:
    """The network after training on the site's fields (the first set) and the replayed ones, mixed with the old one."""
    network, locator, config = read_locator_network(bundle), Session(bundle), site_config(bundle, seed=seed)
    old = {name: value.clone() for name, value in network.state_dict().items()}
    digests = [bundle.card.onnx_sha256, *(d.sha256() for d in sets)]
    groups = [tile_photos(d, locator, measure_rulers(d, bundle.card), config.memory_px, seed=seed) for d in sets]
    weights = np.array([SITE_SHARE] + [(1 - SITE_SHARE) / (len(sets) - 1)] * (len(sets) - 1))
    fingerprint = settings_fingerprint(config, digests)
    new = fit_locator(network, groups, weights, config, run, fingerprint=fingerprint, progress=progress)
    network = read_locator_network(bundle)
    network.load_state_dict({name: OLD_SHARE * old[name] + (1 - OLD_SHARE) * new[name] for name in old})
    return network.eval()


def _measure(
    bundle: Bundle, network: LocatorNet, site: tuple[Dataset, Dataset, str], homes: list[Dataset], run: Path
) -> LocatorAdapted:
    """Both locators on the fields held out and at home; the new one is written into the run's folder `bundle`."""
    learnt, held, unit = site
    shown = letterbox(view_of(held, held.fields[0], bundle.card).pixels, bundle.card.input_size)[0][None]
    part = write_locator(bundle, network, run / "bundle", shown=shown, card_changes={})
    rulers, groups = measure_rulers(held, bundle.card), np.array([group_of(f, unit) for f in held.fields])
    before, after = (match_fields_of(b, held, rulers) for b in (bundle, part))
    threshold = bundle.card.thresholds["score"]
    home = {}
    for dataset in homes:
        at_home = measure_rulers(dataset, bundle.card)
        home[dataset.name] = tuple(
            mean_ap([match_fields_of(b, dataset, at_home)], np.arange(len(dataset.fields)), slice(1))
            for b in (bundle, part)
        )
    adapted = LocatorAdapted(
        n_fields=len(learnt.fields),
        n_cells=sum(is_white(c) for f in learnt.fields for c in f.cells),
        n_held=len(held.fields),
        unit=unit,
        before=score_fields(before, groups, threshold),
        after=score_fields(after, groups, threshold),
        gain=gain_of(before, after, groups),
        home=home,
    )
    write_card(replace(part.card, **_card_changes(bundle, learnt, adapted)), part.path / "card.json")
    return adapted


def _card_changes(bundle: Bundle, learnt: Dataset, adapted: LocatorAdapted) -> dict:
    """What the card says of the new weights; what was measured of the old ones holds no more."""
    site, name = learnt.name, f"{bundle.card.name}, adapted to {learnt.name}"
    rows = [
        {"set": site, "measure": f"{measure}, {when}, {adapted.n_held} fields held out"}
        | {k: round(v, 4) for k, v in getattr(measured, key).items()}
        for measure, key in (("AP50-95", "ap50_95"), ("AP50", "ap50"))
        for when, measured in (("before", adapted.before), ("after", adapted.after))
    ]
    entry = {"name": site, "sha256": learnt.sha256(), "licence": learnt.licence, "home_ap50": adapted.home}
    entry |= {"n_fields": adapted.n_fields, "n_cells": adapted.n_cells, "held_out_by": adapted.unit}
    limit = (
        f"Adapted on {adapted.n_fields} fields of {site}: its numbers hold for that laboratory's stain and camera at "
        "best; the results before adaptation hold no more."
    )
    training = bundle.card.training | {"adapted_to": entry}
    return {"name": name, "training": training, "results": tuple(rows), "limits": (limit, *bundle.card.limits)}


def _is_better(adapted: LocatorAdapted) -> bool:
    """Truer boxes on the fields held out, and no cells lost there or at home."""
    pairs = [(adapted.before.ap50["value"], adapted.after.ap50["value"]), *adapted.home.values()]
    return adapted.gain["value"] > 0 and all(after >= before - MOST_LOST for before, after in pairs)


def _refusal(adapted: LocatorAdapted) -> str:
    before, after = adapted.before, adapted.after
    home = "; ".join(f"{name} {a:.3f} to {b:.3f}" for name, (a, b) in adapted.home.items())
    return (
        f"fitted to {adapted.n_fields} fields the locator is not better on {adapted.n_held} held out: AP50-95 "
        f"{before.ap50_95['value']:.3f} before and {after.ap50_95['value']:.3f} after, AP50 {before.ap50['value']:.3f} "
        f"and {after.ap50['value']:.3f}; at home AP50 {home}: nothing was written; correct more fields, replay fields "
        "of the camera that it knows (--replay), or keep the locator"
    )


def _put_beside(models: dict[str, Bundle], part: Path, out: Path) -> None:
    """The new locator in the place of an old one, and the model's other parts beside it where they are not yet."""
    place, aside = out / "locator", out / "locator.old"
    if place.exists():
        place.replace(aside)
    part.replace(place)
    shutil.rmtree(aside, ignore_errors=True)
    for task, other in models.items():
        if task != "locate" and not (out / other.path.name).exists():
            copy_folder(other.path, out / other.path.name)

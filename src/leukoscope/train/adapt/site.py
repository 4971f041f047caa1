"""`leukoscope adapt`: a model's last layer fitted to a laboratory's own cells, and which cells to label for that."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.evaluate.calibration import fit_temperature
from leukoscope.files import copy_folder, write_rows
from leukoscope.models.bundle import Bundle, find_model, part_of_model
from leukoscope.models.probabilities import softmax
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy, nearest_class
from leukoscope.taxonomy.vocabulary import PARENTS
from leukoscope.train.adapt.cells import read_site_cells
from leukoscope.train.adapt.choose import choose_cells
from leukoscope.train.adapt.class_means import Learnt
from leukoscope.train.adapt.heads import with_one
from leukoscope.train.adapt.network import read_network, set_last_layer, write_adapted
from leukoscope.train.adapt.profile import fit_profile, read_reference
from leukoscope.train.adapt.site_head import (
    SiteHead,
    fit_site_layer,
    last_features,
    old_weights,
    right_share,
    set_loss,
    sharpness,
)
from leukoscope.train.crops.data import CropSet

LEAST_FOR_PROFILE = 100  # of the site's cells, labelled or not: from fewer the stain can't be told from the mix
LEAST_FOR_TEMPERATURE = 30  # labelled cells: fewer say too little of how sure to be
COLUMNS = ("order", "file", "x0", "y0", "x1", "y1", "called", "prob")


@dataclass(frozen=True, slots=True, eq=False)
class HeardSite:
    """A data set's white cells (`cells`), as the last layer of a model's classifier hears them.

    features  (N, F)
    allowed  (N, C) bool: the classes that each may be by its label (`allowed_classes`); none where none is stated
    """

    models: dict[str, Bundle]
    network: CellClassifier
    dataset: Dataset
    cells: CropSet
    features: np.ndarray
    allowed: np.ndarray

    @property
    def bundle(self) -> Bundle:
        """The classifier."""
        return part_of_model(self.models, "classify")

    @property
    def known(self) -> np.ndarray:
        """Rows with a label that the model has a class for."""
        return np.flatnonzero(self.allowed.any(1))


def hear_site(model: str | Path, data: str | Path, *, progress: Progress = no_progress) -> HeardSite:
    """The cells of a data set folder as `model` hears them: what takes the time of adapting, and is needed once."""
    models, dataset = find_model(model), read_dataset(data)
    bundle = part_of_model(models, "classify")
    network = read_network(bundle)
    rule = replace(bundle.card.crop, nucleus_density=None)
    cells = read_site_cells(dataset, rule, taxonomy=bundle.card.taxonomy, progress=progress)
    density = bundle.card.crop.nucleus_density
    features, _ = last_features(network, cells.crops, cells.extras["diameter_um"], density=density)
    return HeardSite(
        models, network, dataset, cells, features, allowed_classes(cells.class_names, bundle.card.taxonomy)
    )


def adapt_model(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    fraction: float | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict:
    """Write an adapted model into folder `out`; returns what was measured.

    model     a bundled model's name, or a model folder with a classifier of this project
    data      a data set folder; its cells of a stated type are the labels
    fraction  use this share of the labelled cells (whole photographs, drawn by `seed`) and measure on the others; None:
              use all, and measure by cross-validation only
    The returned "before" and "after" are accuracies among the classes that the labels name: "held_out" on the cells
    not used (None without fraction), "cross_validated" within those used.
    """
    if fraction is not None and not 0 < fraction < 1:
        raise InputError(f"the fraction of cells to label must lie between 0 and 1, got {fraction}")
    return adapt_heard(hear_site(model, data, progress=progress), out, fraction=fraction, seed=seed)


def adapt_heard(site: HeardSite, out: str | Path, *, fraction: float | None = None, seed: int = 0) -> dict:
    """`adapt_model` for cells that were heard already."""
    known, cells = site.known, site.cells
    if len(known) < 2:
        names = site.bundle.card.taxonomy.name
        raise DataError(f"{site.dataset.name} has {len(known)} cells of a class of {names!r}: label some first")
    used = known if fraction is None else _draw(cells.files[known], fraction, seed, known)
    rest = np.setdiff1d(known, used)
    old = old_weights(site.network)
    head, profiled = fit_rows(site, used, among=np.arange(len(site.features)), seed=seed)
    before = right_share(with_one(site.features[used]) @ old, site.allowed[used])
    measured = {
        "n_labelled": len(used),
        "labelled": dict(sorted(Counter(cells.class_names[used].tolist()).items())),
        "pull": head.pull,
        "profiled": profiled,
        "class_means": head.class_means,
        "cross_validated": {"before": before, "after": head.after},
        "held_out": _held_out(site.features, site.allowed, rest, old, head) if len(rest) else None,
    }
    head = replace(head, held_logits=head.held_logits * sharpness(site.network, site.features[used]))
    _write(site.bundle, site.models, site.network, head, site.dataset, site.allowed[used], measured, Path(out))
    return measured


def fit_rows(site: HeardSite, used: np.ndarray, *, among: np.ndarray, seed: int = 0) -> tuple[SiteHead, bool]:
    """The layer that labelled cells make, and whether it starts from the site's profile.

    used   rows that are labelled; among: rows, sorted, those used among them, that may be looked at without a label
    """
    features, bundle, old = site.features[among], site.bundle, old_weights(site.network)
    allowed, places = site.allowed[used], np.searchsorted(among, used)
    learnt = what_was_learnt(features, old, bundle)
    start = choose_start(features, allowed, places, old, learnt)
    labelled = {"used": places, "groups": site.cells.files[used]}
    return fit_site_layer(features, allowed, start, **labelled, learnt=learnt, seed=seed), start is not old


def what_was_learnt(features: np.ndarray, old: np.ndarray, bundle: Bundle) -> Learnt | None:
    """What the bundle knows before any label, and the profile of all the site's cells (heard (N, F)); None with too few
    cells to tell the stain from the mix, or without a reference."""
    reference, temperature = read_reference(bundle.path), bundle.card.temperature
    if reference is None or len(features) < LEAST_FOR_PROFILE:
        return None
    return Learnt(temperature, reference, fit_profile(features, old, reference, temperature=temperature))


def choose_start(
    features: np.ndarray, allowed: np.ndarray, used: np.ndarray, old: np.ndarray, learnt: Learnt | None
) -> np.ndarray:
    """The layer that labels are fitted from: the old one, or its profile of all the site's cells (heard (N, F)) where
    that explains the labelled ones (rows `used`, allowed (n, C)) better. Neither has seen a label."""
    if learnt is None:
        return old
    profiled, of_used = learnt.profile.weights, with_one(features[used])
    return profiled if set_loss(of_used @ profiled, allowed) < set_loss(of_used @ old, allowed) else old


def suggest_cells(
    model: str | Path,
    data: str | Path,
    n: int,
    *,
    method: str = "typical_by_call",  # what most pairs of three sites choose (benchmarks/sites/cell_choice.py)
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[dict]:
    """The n cells of a data set to label first: rows of COLUMNS, in that order. Its labels are not looked at."""
    site = hear_site(model, data, progress=progress)
    cells, features, card = site.cells, site.features, site.bundle.card
    logits = with_one(features) @ old_weights(site.network) * sharpness(site.network, features)
    probs = softmax(logits, card.temperature)
    spread = features.std(0)
    rows = choose_cells((features - features.mean(0)) / (spread + spread.mean()), probs, n, method=method, seed=seed)
    return [
        {
            "order": order,
            "file": str(cells.files[row]),
            **dict(zip(("x0", "y0", "x1", "y1"), cells.boxes[row].round(1).tolist(), strict=True)),
            "called": card.taxonomy.names[int(probs[row].argmax())],
            "prob": round(float(probs[row].max()), 3),
        }
        for order, row in enumerate(rows.tolist(), 1)
    ]


def write_suggestions(rows: list[dict], out: str | Path) -> None:
    """The rows of `suggest_cells` as CSV, to work through beside the annotation tool."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_rows(out, [COLUMNS, *([row[column] for column in COLUMNS] for row in rows)])


def allowed_classes(class_names: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(N, C) bool: the taxonomy's classes that a cell of each name may be.

    A name of the taxonomy is itself; a finer one its nearest coarser class; a coarser one ("neutrophil") every class
    below it; a name that has none of these, no class.
    """
    of_name = {}
    for name in np.unique(class_names).tolist():
        row = np.zeros(len(taxonomy.names), bool)
        nearest = nearest_class(name, taxonomy.names) if name and name != "white_cell" else None
        if nearest is not None:
            row[taxonomy.index(nearest)] = True
        elif name and name != "white_cell":
            row[[i for i, n in enumerate(taxonomy.names) if name in _ancestors(n)]] = True
        of_name[name] = row
    if not len(class_names):
        return np.zeros((0, len(taxonomy.names)), bool)
    return np.stack([of_name[n] for n in class_names.tolist()])


def _ancestors(name: str) -> set[str]:
    above = set()
    while name in PARENTS:
        name = PARENTS[name]
        above.add(name)
    return above


def _draw(files: np.ndarray, fraction: float, seed: int, rows: np.ndarray) -> np.ndarray:
    """Rows of whole photographs, drawn until the share is reached."""
    wanted, taken = max(1, round(fraction * len(rows))), []
    for name in np.random.default_rng(seed).permutation(np.unique(files)):
        if len(taken) >= wanted:
            break
        taken += rows[files == name].tolist()
    return np.sort(np.array(taken, np.int64))


def _held_out(features: np.ndarray, allowed: np.ndarray, rest: np.ndarray, old: np.ndarray, head: SiteHead) -> dict:
    def right(weights: np.ndarray) -> float:
        logits = np.where(allowed.any(0), with_one(features[rest]) @ weights, -np.inf)
        return float(allowed[rest, logits.argmax(1)].mean())

    return {"n": len(rest), "before": right(old), "after": right(head.weights)}


def _write(bundle, models, network, head: SiteHead, dataset: Dataset, allowed, measured: dict, out: Path) -> None:
    """The bundle, with the other parts of the model beside it, so that `analyze --model OUT` works."""
    set_last_layer(network, head.weights)
    card, site = bundle.card, dataset.name
    results = [
        {"data": site, "split": kind, "measure": f"accuracy, {when}", "value": round(values[when], 4)}
        for kind, values in (("cross-validated", measured["cross_validated"]), ("held out", measured["held_out"]))
        if values
        for when in ("before", "after")
    ]
    entry = {"name": site, "sha256": dataset.sha256(), "licence": dataset.licence}
    entry |= {k: measured[k] for k in ("n_labelled", "labelled", "pull", "profiled", "class_means")}
    changes = {
        "name": f"{card.name}, adapted to {site}",
        "training": card.training | {"adapted_to": entry},
        "results": tuple(results),
        "confusion": None,
        "temperature": _temperature(card.temperature, head, allowed),
        "limits": (
            f"Adapted on {measured['n_labelled']} cells of {site}: its numbers hold for that laboratory's stain and "
            "camera at best; the results before adaptation hold no more.",
            *card.limits,
        ),
    }
    write_adapted(bundle, network, out / "classifier", card_changes=changes)
    for task, other in models.items():
        if task != "classify":
            copy_folder(other.path, out / other.path.name)


def _temperature(old: float, head: SiteHead, allowed: np.ndarray) -> float:
    """Set on the cells' held-out logits among the classes that the labels name; the old one with few cells."""
    single = allowed.sum(1) == 1
    if head.pull is None or single.sum() < LEAST_FOR_TEMPERATURE:
        return old
    named = np.flatnonzero(allowed[single].any(0))
    truth = np.searchsorted(named, allowed[single].argmax(1))
    return round(fit_temperature(head.held_logits[single][:, named], truth), 4)

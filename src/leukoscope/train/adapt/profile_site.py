"""`leukoscope adapt --unlabelled`: a model fitted to a laboratory's stain and camera from cells without labels."""

from pathlib import Path

import numpy as np

from leukoscope.errors import DataError, InputError
from leukoscope.files import copy_folder, save_arrays
from leukoscope.models.bundle import Bundle, find_model, part_of_model
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.adapt.neighbours import lean_on_neighbours
from leukoscope.train.adapt.network import read_network, set_last_layer, write_adapted
from leukoscope.train.adapt.profile import Profile, fit_profile, read_reference
from leukoscope.train.adapt.site_cells import hear_site
from leukoscope.train.adapt.site_head import old_weights

LEAST_CELLS = 200
LEAST_PATIENTS = 3
MOST_OF_ONE = 0.5  # share of the cells that one patient may have
MOST_BLASTS, MOST_IMMATURE = 0.05, 0.15  # of the mix: above, these are no ordinary patients
MOST_OF_CLASS = 0.9
IMMATURE = ("promyelocyte", "myelocyte", "metamyelocyte")


def profile_model(model: str | Path, data: str | Path, out: str | Path, *, progress: Progress = no_progress) -> dict:
    """Write the profiled model into folder `out`; returns what was found: n_cells, n_patients, mix and shift.

    model  a bundled model's name or a model folder whose classifier has a reference (`reference.npz`)
    data   a data set folder, whose labels are not looked at, or a folder of photographs, one folder a patient: the
           model's locator then finds the cells
    InputError where the model can't be profiled; DataError where the cells are too few, of too few patients, or of a
    mix that ordinary patients don't have: then the mix, not the stain, would be what the profile takes away.
    """
    models = find_model(model)
    bundle = part_of_model(models, "classify")
    reference = read_reference(bundle.path)
    if reference is None:
        raise InputError(
            f"model {bundle.card.name!r} holds no reference of the cells it learnt from (reference.npz): it can't be "
            "fitted without labels; use a bundled model or one trained by this version, or label 30 cells"
        )
    network = read_network(bundle)
    cells, features = hear_site(models, bundle, network, data, progress)
    check_patients(cells.groups, cells.unit)
    profile = fit_profile(features, old_weights(network), reference, temperature=bundle.card.temperature)
    check_mix(profile.mix, bundle.card.taxonomy)
    settled = lean_on_neighbours(features, profile.weights, temperature=bundle.card.temperature)
    set_last_layer(network, settled)
    entry = {
        "n_cells": len(features),
        "n_patients": len(np.unique(cells.groups)) if cells.unit == "patient" else None,
        "mix": dict(zip(bundle.card.taxonomy.names, profile.mix.round(4).tolist(), strict=True)),
        "shift": round(float(np.sqrt((profile.shift**2).mean())), 3),
    }
    _write(bundle, models, network, profile, cells.sources, entry, Path(out))
    return entry


def check_patients(groups: np.ndarray, unit: str) -> None:
    """DataError for too few cells, or cells of too few patients where patients are known."""
    if len(groups) < LEAST_CELLS:
        raise DataError(
            f"{len(groups)} cells were found: a profile needs {LEAST_CELLS} or more, of several ordinary patients"
        )
    if unit != "patient":
        return
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < LEAST_PATIENTS or counts.max() > MOST_OF_ONE * len(groups):
        most = f"{counts.max()} of {len(groups)} cells are of {names[counts.argmax()]!r}"
        raise DataError(
            f"the cells are of {len(names)} patients, {most}: a profile needs {LEAST_PATIENTS} patients or more and at "
            f"most {MOST_OF_ONE:.0%} of the cells from one, else it learns the patient and not the laboratory"
        )


def check_mix(mix: np.ndarray, taxonomy: Taxonomy) -> None:
    """DataError where the estimated mix (C,) is none that ordinary patients have."""
    share = dict(zip(taxonomy.names, mix.tolist(), strict=True))
    blasts = sum(share[n] for n in taxonomy.blasts)
    immature = sum(share.get(n, 0.0) for n in IMMATURE)
    top = max(share, key=share.get)
    odd = []
    if blasts > MOST_BLASTS:
        odd.append(f"{blasts:.1%} blasts (at most {MOST_BLASTS:.0%})")
    if immature > MOST_IMMATURE:
        odd.append(f"{immature:.1%} immature granulocytes (at most {MOST_IMMATURE:.0%})")
    if share[top] > MOST_OF_CLASS:
        odd.append(f"{share[top]:.1%} {top} (at most {MOST_OF_CLASS:.0%})")
    if odd:
        raise DataError(
            f"the cells are an unusual mix: {'; '.join(odd)}. A profile takes away what is common to all cells, so it "
            "needs ordinary patients of the laboratory: choose others, or label cells and adapt with them"
        )


def _write(
    bundle: Bundle, models: dict[str, Bundle], network, profile: Profile, sources: tuple, entry: dict, out: Path
) -> None:
    card = bundle.card
    names = ", ".join(s["name"] for s in sources)
    changes = {
        "name": f"{card.name}, profile of {names}",
        "training": card.training | {"profile": {"data": list(sources), **entry}},
        "results": (),
        "confusion": None,
        "limits": (
            f"Fitted without labels to {entry['n_cells']} cells of {names}: nothing was measured there, and the "
            "results before hold no more. Blood of the same stain and camera only.",
            *card.limits,
        ),
    }
    write_adapted(bundle, network, out / "classifier", card_changes=changes)
    save_arrays(
        out / "classifier" / "profile.npz",
        mean=profile.mean.astype(np.float32),
        spread=profile.spread.astype(np.float32),
    )
    for task, other in models.items():
        if task != "classify":
            copy_folder(other.path, out / other.path.name)

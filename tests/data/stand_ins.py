"""What stands in for long work while the commands of the docs run: each checks what it is given as the work itself
does at first, and leaves what the next command reads. The work has tests of its own (`RUNS_IN`)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from data.make_bundles import make_classifier, make_model
from data.make_detector import make_detector

from leukoscope.dataset.manifest import read_dataset
from leukoscope.images import list_images
from leukoscope.models.bundle import find_model
from leukoscope.train import run as train_run
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.detector.config import detector_config

# What is stood in for: the tests that run it.
RUNS_IN = {
    "leukoscope.train.run.train": (
        "test_detector_export.py",
        "test_torch_and_onnx_agree_and_the_bundle_is_measured",
    ),
    "leukoscope.train.adapt.locator_site.adapt_locator": (
        "test_adapt_locator.py",
        "test_a_better_locator_is_written_beside_the_other_parts",
    ),
    "leukoscope.train.adapt.profile_site.profile_model": (
        "test_adapt_profile.py",
        "test_the_command_writes_a_profiled_model_or_says_why_not",
    ),
    "leukoscope.web.adapting.adapt_from": (
        "test_web_learn.py",
        "test_a_model_is_written_only_where_it_is_better_on_patients_left_out",
    ),
    "leukoscope.web.adapting.adapt_locator_from": (
        "test_web_learn.py",
        "test_the_locator_learns_from_fields_that_were_looked_through",
    ),
    "leukoscope.web.adapting.next_cells": (
        "test_web_learn.py",
        "test_the_next_cells_are_of_patients_that_nobody_signed",
    ),
    "leukoscope.web.serve.export": (
        "test_web_learn.py",
        "test_signed_cells_become_a_data_set_that_goes_to_cvat_and_back",
    ),
    "leukoscope.experiments.pcm.study.run_study": (
        "test_study_pcm.py",
        "test_every_row_is_done_but_the_one_whose_extra_is_missing",
    ),
    "uvicorn.Server.run": (
        "test_web_server.py",
        "test_only_our_own_host_is_answered",
    ),
}
_TRAIN = train_run.train


def stand_in(monkeypatch) -> None:
    """Put them in place of what is named in `RUNS_IN`."""
    places = {
        "train": _trained, "adapt_locator": _located, "profile_model": _profiled, "adapt_from": _adapted,
        "adapt_locator_from": _located_from, "next_cells": _next_cells, "export": _exported, "run_study": _studied,
        "run": _served,
    }  # fmt: skip
    monkeypatch.setenv("LEUKOSCOPE_PASSWORD", "a long enough password")
    for name in RUNS_IN:
        monkeypatch.setattr(name, places[name.rpartition(".")[2]])


def _trained(config, data, out, **options):
    """Settings and data are read as ever; what needs published weights or a graphics card gets a made bundle."""
    values = read_toml(config)
    task = values.pop("task")
    if task == "classify":
        return _TRAIN(config, data, out, **options)
    for folder in data:
        read_dataset(folder)
    if task == "detect":
        detector_config(values, config)
        make_detector(Path(out) / "bundle")
    else:
        build_config(FinetuneConfig, values, config)
        make_classifier(Path(out) / "bundle")
    return Path(out)


def _model(model, out) -> None:
    find_model(model)
    make_model(Path(out))


def _located(model, data, out, **how):
    read_dataset(data)
    _model(model, out)
    return SimpleNamespace(lines=lambda: ["the locator was not fitted here"])


def _profiled(model, data, out, **how):
    assert list_images([Path(data)])
    _model(model, out)
    return {"n_patients": 0, "n_cells": 300, "mix": {"lymphocyte": 1.0}, "shift": 0.1}


def _stored(db) -> None:
    assert Path(db).is_file(), f"no reading room {db}"


def _adapted(model, db, out, **how):
    _stored(db)
    _model(model, out)
    limits = (0.9, 0.8, 0.95)
    return SimpleNamespace(n_cells=60, n_groups=3, unit="patient", before=limits, after=limits, gain=limits)


def _located_from(model, db, out, **how):
    _stored(db)
    _model(model, out)
    return SimpleNamespace(lines=lambda: ["the locator was not fitted here"])


def _next_cells(model, db, n, **how):
    _stored(db)
    find_model(model)
    return []


def _exported(db, form, out):
    _stored(db)
    return {"n_typed": 0, "n_cells": 0, "n_fields": 0, "n_missing": 0}


def _studied(config, folders, out, **how):
    """The settings of the study are read, and the sets that it is given."""
    from leukoscope.experiments.pcm.config import read_study

    read_study(config)
    for folder in (folders.data, *folders.external, folders.target):
        assert folder is None or read_dataset(folder).fields
    return SimpleNamespace(page=Path(out) / "study.html", rows={})


def _served(server, sockets) -> None:
    """The application and its address stand; nobody asks anything."""
    assert server.config.app is not None and sockets
    for listener in sockets:
        listener.close()

"""Smear photographs in, a patient report out. The public names are those in `__all__`; each loads when first used."""

import importlib

__version__ = "0.1.0"

# Public name -> the module that holds it. `leukoscope --help` must not pay for numpy, so nothing is imported here.
_HOMES = {
    "AnalyzeOptions": "leukoscope.pipeline",
    "Calls": "leukoscope.types",
    "Cells": "leukoscope.types",
    "Dataset": "leukoscope.dataset.manifest",
    "Differential": "leukoscope.types",
    "Field": "leukoscope.types",
    "FieldKey": "leukoscope.types",
    "LeukoscopeError": "leukoscope.errors",
    "Ratio": "leukoscope.types",
    "Taxonomy": "leukoscope.taxonomy",
    "analyze": "leukoscope.pipeline",
    "evaluate_model": "leukoscope.evaluate",
    "find_model": "leukoscope.models.bundle",
    "import_dataset": "leukoscope.dataset.importer",
    "read_dataset": "leukoscope.dataset.manifest",
    "read_field": "leukoscope.images",
    "read_record": "leukoscope.report.record",
    "read_taxonomy": "leukoscope.taxonomy",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leukoscope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

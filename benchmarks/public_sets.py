"""The public sets as data sets: imported from the folder of real images into a temporary one, each time anew."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, read_dataset

FORMATS = {"pbc": "yolo", "bccd": "voc", "draaslan": "csv", "jtsc": "csv", "cellavision": "csv", "cnmc": "folders"}
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# Types of pbc that PCM's nine classes have no place for.
LEFT_OUT = ("promyelocyte", "myelocyte", "metamyelocyte", "immature_granulocyte", "erythroblast", "unstated")


def import_public(name: str, data: str | Path, work: str | Path) -> Dataset:
    """Public set `name` (a key of FORMATS) from `data`/`name`; its manifest is written below `work`."""
    out = Path(work) / name
    import_dataset(FORMATS[name], Path(data) / name, out, source=name, replace_set=True)
    return read_dataset(out)


def parse_arguments(description: str) -> argparse.Namespace:
    """Arguments that the accuracy benchmarks share: --data, --model, --details."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LEUKOSCOPE_SHARED", SHARED), help="folder of the public sets")
    parser.add_argument("--model", default="blood", help="a bundled model's name, or a model folder")
    parser.add_argument("--details", help="keep metrics.json, confusion.csv and predictions.csv of each set below here")
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    return parser.parse_args()


def row(name: str, measure: str, entry: dict, *, least: float | None = None, most: float | None = None) -> dict:
    """A row of a result table from {"value", "low", "high"}; `least` or `most` is the value asked for."""
    value = entry["value"]
    threshold = f">= {least}" if least is not None else f"<= {most}" if most is not None else ""
    met = value is not None and ((least is None or value >= least) and (most is None or value <= most))
    shown = {k: "" if entry[k] is None else round(entry[k], 4) for k in ("value", "low", "high")}
    return {
        "set": name,
        "measure": measure,
        **shown,
        "threshold": threshold,
        "met": ("yes" if met else "no") if threshold else "",
    }

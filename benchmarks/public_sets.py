"""The public sets as data sets: imported from the folder of real images into a temporary one, each time anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
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


def spread(photographs: Iterable[Path], folder: Path, *, a_patient: int) -> Path:
    """Copies of the photographs as `folder`/patient000/00000.jpg and on, `a_patient` in a folder."""
    for number, source in enumerate(photographs):
        target = folder / f"patient{number // a_patient:03}" / f"{number:05}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return folder


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

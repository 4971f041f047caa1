"""The public sets as data set folders, each in its role (benchmarks/sites/sets.toml), boxes and groups included.

    python -m benchmarks.sites.laboratories --out DATA [--data FOLDER] [--sets pbc raabin …]

What `leukoscope train configs/classifier.toml --data DATA/pbc --data DATA/raabin …` reads. Pictures of one cell that
state no box get the bundled locator's box nearest their middle; what else it finds there is kept as a cell of unstated
type, so that no background with a white cell in it is taken for empty smear. Slides, and clusters of near duplicates
where nothing else is known, become the group that is never divided (FieldKey.smear_id), and `raabin` and `lmu`, which
have no split of their own, are split by it: 15 % for validation.
"""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, option, parse
from leukoscope.dataset.audit.duplicates import find_duplicates
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session

HERE = Path(__file__).resolve().parent
ROLES = ("train", "development")
LEAST_SCORE = 0.3  # a box below is no cell beside the one in the middle
VALIDATION = 0.15


def read_roles(path: Path = HERE / "sets.toml") -> dict[str, dict]:
    """{set: its entry}; ValueError for a role that is none of ROLES."""
    sets = tomllib.loads(path.read_text("utf-8"))
    odd = [name for name, entry in sets.items() if entry.get("role") not in ROLES]
    if odd:
        raise ValueError(f"{path}: role of {', '.join(odd)} must be one of {', '.join(ROLES)}")
    return sets


def sets_of(role: str) -> list[str]:
    """Names of the sets of a role, in the file's order."""
    return [name for name, entry in read_roles().items() if entry["role"] == role]


def build(name: str, data: Path, out: Path, *, model: str = "blood") -> Dataset:
    """Import set `name` from `data`/`name` into `out`/`name`, boxes, groups and splits; one there is read again."""
    entry, folder = read_roles()[name], out / name
    if (folder / "dataset.json").is_file():
        return read_dataset(folder)
    with tempfile.TemporaryDirectory() as work:
        source = entry.get("source") or _write_source(name, entry, Path(work))
        attributes = data / name / entry["attributes"] if "attributes" in entry else None
        imported = Path(work) / "imported"
        import_dataset(
            entry["format"], data / name, imported, source=source, columns=entry.get("columns"),
            specimen=entry.get("specimen"), attributes=attributes,
        )  # fmt: skip
        dataset = replace(read_dataset(imported), name=name)
    if entry.get("boxes") == "locator":
        dataset = with_boxes(dataset, Session(find_model(model)["locate"]))
    if entry.get("group") == "duplicates":
        dataset = group_duplicates(dataset)
    if "group" in entry:
        dataset = split_by_smear(dataset, seed=0)
    write_dataset(dataset, folder)
    return read_dataset(folder)


def with_boxes(dataset: Dataset, locator: Session) -> Dataset:
    """Each picture's cell with the located box nearest the middle; other boxes found become cells of unstated type."""
    fields = []
    for number, field in enumerate(dataset.fields, 1):
        picture = read_field(dataset.path(field), field.key)
        found = locate(picture, locator)
        boxes = found.boxes[found.scores >= LEAST_SCORE].astype(np.float64)
        fields.append(replace(field, cells=_central_first(field, boxes)))
        if number % 200 == 0:
            print(f"{dataset.name}: {number} of {len(dataset.fields)} pictures located", flush=True)
    return replace(dataset, fields=tuple(fields))


def _central_first(field: TruthField, boxes: np.ndarray) -> tuple[TruthCell, ...]:
    """The stated cell in the box nearest to the picture's middle; in the whole frame where none is near."""
    (cell,) = field.cells
    middle = np.array([field.width, field.height]) / 2
    if not len(boxes):
        return field.cells
    apart = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - middle).max(1)
    nearest = int(apart.argmin())
    if apart[nearest] > 0.25 * min(field.width, field.height):
        return field.cells
    others = [b for i, b in enumerate(boxes.tolist()) if i != nearest]
    first = replace(cell, box=tuple(boxes[nearest].round(1).tolist()))
    return (first, *(TruthCell(tuple(np.round(b, 1)), None, "") for b in others))


def group_duplicates(dataset: Dataset) -> Dataset:
    """Near duplicates get one smear_id, every other picture its own."""
    clusters = find_duplicates([dataset.path(f) for f in dataset.fields]).clusters
    smear = {row: f"cluster {min(rows)}" for rows in clusters for row in rows}
    fields = [
        replace(f, key=replace(f.key, smear_id=smear.get(i, f.key.field_id))) for i, f in enumerate(dataset.fields)
    ]
    return replace(dataset, fields=tuple(fields))


def split_by_smear(dataset: Dataset, *, seed: int) -> Dataset:
    """Whole smears into "val" until each class has its share, the rest "train"."""
    rng = np.random.default_rng(seed)
    left: dict[str, float] = {}
    for f in dataset.fields:
        left[f.cells[0].class_name] = left.get(f.cells[0].class_name, 0) + VALIDATION
    smears = sorted({f.key.smear_id for f in dataset.fields})
    chosen = set()
    for smear in rng.permutation(smears).tolist():
        own = [f.cells[0].class_name for f in dataset.fields if f.key.smear_id == smear]
        if all(left[name] >= own.count(name) / 2 for name in set(own)):
            chosen.add(smear)
            for name in own:
                left[name] -= 1
    fields = tuple(replace(f, split="val" if f.key.smear_id in chosen else "train") for f in dataset.fields)
    return replace(dataset, fields=fields)


def _write_source(name: str, entry: dict, work: Path) -> Path:
    """The entry's codes as a source file."""
    path = work / f"{name}.toml"
    licence = entry.get("licence", "not stated")
    lines = [f'name = "{name}"', f'center = "{name}"', f'licence = "{licence}"', "[codes]"]
    lines += [f'"{code}" = "{meaning}"' for code, meaning in entry["codes"].items()]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def main() -> None:
    args = parse(
        __doc__,
        DATA,
        option("--out", type=Path, required=True),
        option("--sets", nargs="*", default=list(read_roles())),
    )
    for name in args.sets:
        dataset = build(name, args.data, args.out)
        boxed = sum(f.cells[0].box[0] > 0 for f in dataset.fields if f.cells)
        print(f"{name}: {len(dataset.fields)} pictures, {boxed} with a box inside the frame", flush=True)


if __name__ == "__main__":
    main()

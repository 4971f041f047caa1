"""Whole files of every kind but pictures, annotations and slides, and the call that reads each (damaged_files.py)."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.make_bundles import make_model, noisy_field
from data.make_checked_set import make_checked_set
from data.make_room import make_run
from data.make_signed import make_signed
from PIL import Image

from benchmarks.sets.mutated_annotations import fabricate
from leukoscope.cli import main
from leukoscope.cli.drift import DRIFTED
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.sources import read_source
from leukoscope.dataset.split_file import apply_split_file
from leukoscope.drift.profile import measure_run, read_profile, write_profile
from leukoscope.models.bundle import find_model, read_card
from leukoscope.pipeline import analyze
from leukoscope.pipeline.own_cells import read_own_cells
from leukoscope.pipeline.sources import find_sources, read_facts, unknown_columns
from leukoscope.pseudonyms import Pseudonyms, open_key
from leukoscope.report import read_record

ROOT = Path(__file__).resolve().parents[2]


class Untrue(Exception):
    """A damaged file gave a result that is not the whole file's."""


@dataclass(frozen=True)
class Call:
    """files: those that are damaged, of `folder`. run: reads a copy of the folder; an exit code, or anything."""

    folder: Path
    files: tuple[Path, ...]
    run: Callable[[Path], object]


def _smears(folder: Path) -> Path:
    for number in range(3):
        path = folder / "smears" / ("anna" if number < 2 else "bert") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy_field(number, 96, 128)).save(path)
    return folder / "smears"


def patients_table(folder: Path) -> Call:
    smears = _smears(folder)
    rows = "anna/0.png,A,A1,north,31,female\nanna/1.png,A,A1,north,31,female\nbert/2.png,B,B1,south,77,m\n"
    table = smears / "patients.csv"
    table.write_text("file,patient_id,smear_id,center,age_years,sex\n" + rows)

    def run(place: Path) -> None:
        path = place / "smears" / "patients.csv"
        found = find_sources([place / "smears"], specimen="blood", patients=path)
        if {Path(s.file).name for s in found} < {"0.png", "1.png", "2.png"}:
            raise Untrue(f"photographs vanished: {[s.file for s in found]}")
        read_facts(path)
        unknown_columns(path)

    return Call(folder, (table,), run)


def record(folder: Path) -> Call:
    make_run(folder / "run", n_patients=2, n_fields=4, n_cells=4)
    version_1 = folder / "old" / "record.json"
    shutil.copytree(ROOT / "tests" / "archive" / "record-v1", version_1.parent)

    def run(place: Path) -> int:
        wishes = ["--to", "csv", "fhir", "geojson", "record", "report"]
        now = main(["export", str(place / "run"), *wishes, "--out", str(place / "run-out")])
        return now or main(["export", str(place / "old"), "--to", "csv", "fhir", "--out", str(place / "old-out")])

    return Call(folder, (folder / "run" / "record.json", version_1), run)


def record_in_the_room(folder: Path) -> Call:
    make_run(folder / "run", n_patients=2, n_fields=4, n_cells=4)
    files = (folder / "run" / "record.json", folder / "run" / ".work" / "thumbs.jsonl")

    def run(place: Path) -> None:
        from leukoscope.web.store.engine import open_store
        from leukoscope.web.store.opening import open_run

        store = open_store(place / "room.sqlite")
        try:
            open_run(store, place / "run")
        finally:
            store.close()

    return Call(folder, files, run)


def records_against_one_another(folder: Path) -> Call:
    for name in ("june", "july"):
        make_run(folder / name, n_patients=9, n_fields=12, n_cells=3)
    words = ("july", "--reference", "june", "--html", "drift.html")

    def run(place: Path) -> int:
        try:
            return main(["drift", *(str(place / w) if not w.startswith("--") else w for w in words)])
        except SystemExit as ended:
            if ended.code != DRIFTED:
                raise
            return 0  # a number that was edited into another one has drifted: said, and true

    return Call(folder, tuple(folder / name / "record.json" for name in ("june", "july")), run)


def signed_record(folder: Path) -> Call:
    run = make_run(folder / "run", n_patients=2, n_fields=4, n_cells=4)
    file = folder / "signed.json"
    file.write_text(json.dumps(make_signed(read_record(run / "record.json"))))
    return Call(
        folder,
        (file,),
        lambda place: main(
            ["export", str(place / "signed.json"), "--to", "fhir", "csv", "record", "--out", str(place / "out")]
        ),
    )


def manifest(folder: Path) -> Call:
    make_checked_set(folder, n_fields=4, patients=True)
    files = tuple(f for f in sorted((folder / "set").rglob("*")) if f.suffix in (".json", ".jsonl", ".csv"))

    def run(place: Path) -> int:
        stats = main(["dataset", "stats", str(place / "set")])
        return stats or main(["dataset", "export", "coco", str(place / "set"), "--out", str(place / "out")])

    return Call(folder, files, run)


def bundle(folder: Path) -> Call:
    make_model(folder / "model")
    smears = _smears(folder)
    files = tuple(f for f in sorted((folder / "model").rglob("*")) if f.is_file())

    def run(place: Path) -> int:
        words = ["analyze", str(place / smears.name), "--out", str(place / "out"), "--model", str(place / "model")]
        return main(["models", "show", str(place / "model")]) or main([*words, "--workers", "1"])

    return Call(folder, files, run)


def stopped_run(folder: Path) -> Call:
    """What a run left that was stopped, and the record that it must come to."""
    smears, model = _smears(folder), make_model(folder / "model")
    whole = analyze([smears], folder / "whole", model=model).read_bytes()

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    try:
        analyze([smears], folder / "out", model=model, progress=stop)
    except KeyboardInterrupt:
        pass
    files = tuple(f for f in sorted((folder / "out" / ".work").iterdir()) if f.name != "lock")

    def run(place: Path) -> None:
        found = analyze([smears], place / "out", model=model, resume=True).read_bytes()
        if found != whole:
            raise Untrue("the record differs from that of the undisturbed run")

    return Call(folder, files, run)


def own_cells(folder: Path) -> Call:
    model = make_model(folder / "model")
    card = find_model(model)["classify"].card
    names = card.taxonomy.names
    table = [[9 if i == j else 1 for j in range(len(names))] for i in range(len(names))]
    said = {
        "models": {"classify": {"onnx_sha256": card.onnx_sha256}},
        "classification": {"readings": {"as_labelled": {"labels": list(names), "confusion": table}}},
    }
    (folder / "metrics.json").write_text(json.dumps(said, indent=1))
    return Call(folder, (folder / "metrics.json",), lambda place: read_own_cells(place / "metrics.json", card))


def drift_profile(folder: Path) -> Call:
    run = make_run(folder / "run", n_patients=9, n_fields=9, n_cells=3)
    write_profile(measure_run(run), folder / "trusted.json")
    shutil.copytree(run, folder / "july")

    def call(place: Path) -> int:
        read_profile(place / "trusted.json")
        return main(["drift", str(place / "july"), "--reference", str(place / "trusted.json")])

    return Call(folder, (folder / "trusted.json",), call)


def split_file(folder: Path) -> Call:
    dataset = make_checked_set(folder, n_fields=4)
    rows = [f"{f.file},{s}" for f, s in zip(dataset.fields, ("train", "train", "val", "test"), strict=True)]
    (folder / "splits.csv").write_text("\n".join(["file,split", *rows]) + "\n")
    read = dataset

    def run(place: Path) -> None:
        if len(apply_split_file(read, place / "splits.csv").fields) != 4:
            raise Untrue("fields vanished")

    return Call(folder, (folder / "splits.csv",), run)


def zip_archive(folder: Path) -> Call:
    fabricate(folder / "set", "coco")
    with zipfile.ZipFile(folder / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "set").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder / "set"))
    return Call(
        folder, (folder / "export.zip",), lambda place: import_dataset("coco", place / "export.zip", place / "out")
    )


def gzipped_geojson(folder: Path) -> Call:
    file = fabricate(folder, "geojson")
    packed = file.with_name(file.name + ".gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    return Call(folder, (packed,), lambda place: import_dataset("geojson", place, place / "out"))


def key(folder: Path) -> Call:
    folder.mkdir(parents=True)
    names = Pseudonyms()
    names.of("patient", "anna")
    names.save(folder / "key.json")
    return Call(folder, (folder / "key.json",), lambda place: open_key(place / "key.json", out=place / "out"))


def database(folder: Path) -> Call:
    from leukoscope.web.store.engine import open_store
    from leukoscope.web.store.opening import open_run

    run = make_run(folder / "run", n_patients=1, n_fields=2, n_cells=3)
    store = open_store(folder / "room.sqlite")
    open_run(store, run)
    store.close()

    def call(place: Path) -> None:
        again = open_store(place / "room.sqlite")
        try:
            open_run(again, place / "run")
        finally:
            again.close()

    return Call(folder, tuple(sorted(folder.glob("room.sqlite*"))), call)


def settings_of_the_room(folder: Path) -> Call:
    from leukoscope.web.settings import default_settings, read_settings, with_keys

    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text(with_keys(default_settings(), {"lymphoblast": "y"}, []), "utf-8")

    def run(place: Path) -> None:
        read_settings((place / "settings.toml").read_bytes().decode("utf-8", "replace"))

    return Call(folder, (folder / "settings.toml",), run)


def table_of_codes(folder: Path) -> Call:
    folder.mkdir(parents=True)
    (folder / "codes.toml").write_text(
        'name = "ours"\nlicence = "ours"\num_per_px = 0.1\nimage_name = "{}.png"\n[codes]\n"LYT" = "lymphocyte"\n'
        '"MO" = {class = "monocyte", wording = "mono"}\n[columns]\nlabel = "type"\n'
    )
    return Call(folder, (folder / "codes.toml",), lambda place: read_source(place / "codes.toml"))


def configuration(folder: Path) -> Call:
    """Of training, each of the shipped ones."""
    folder.mkdir(parents=True)
    for path in sorted((ROOT / "configs").glob("*.toml")):
        shutil.copy(path, folder)

    def run(place: Path) -> None:
        from leukoscope.train.config import build_config, read_toml

        kinds = _config_kinds()
        for path in sorted(place.glob("*.toml")):
            values = read_toml(path)
            kind = kinds.get(str(values.pop("task", None)))
            if kind is not None:
                build_config(kind, values, path)

    return Call(folder, tuple(sorted(folder.glob("*.toml"))), run)


def _config_kinds() -> dict:
    from leukoscope.train.classifier.config import ClassifierConfig
    from leukoscope.train.crops.config import FinetuneConfig
    from leukoscope.train.detector.config import DetectorConfig
    from leukoscope.train.locator.config import LocatorConfig
    from leukoscope.train.outliner.config import OutlinerConfig

    return {
        "classify": ClassifierConfig,
        "locate": LocatorConfig,
        "finetune": FinetuneConfig,
        "detect": DetectorConfig,
        "outline": OutlinerConfig,
    }


def study_configuration(folder: Path) -> Call:
    shutil.copytree(ROOT / "configs" / "cblc-small", folder / "cblc")
    shutil.copytree(ROOT / "configs" / "pcm-small", folder / "pcm")

    def run(place: Path) -> None:
        from leukoscope.experiments.cblc.settings import read_settings
        from leukoscope.experiments.pcm.config import read_study

        read_settings(place / "cblc")
        read_study(place / "pcm" / "study.toml")

    return Call(folder, (*sorted((folder / "cblc").iterdir()), folder / "pcm" / "study.toml"), run)


def checkpoint(folder: Path) -> Call:
    import torch

    from leukoscope.train.checkpoint import load_checkpoint, save_checkpoint

    folder.mkdir(parents=True)
    save_checkpoint(folder / "checkpoint.pt", {"fingerprint": "a.b.c", "model": {"w": torch.zeros(4)}, "step": 1})
    return Call(
        folder, (folder / "checkpoint.pt",), lambda place: load_checkpoint(place / "checkpoint.pt", fingerprint="a.b.c")
    )


def card(folder: Path) -> Call:
    """The bundled model's own card, which says more than the drawn one's."""
    bundled = find_model("blood")["classify"].path
    folder.mkdir(parents=True)
    shutil.copy(bundled / "card.json", folder)
    return Call(folder, (folder / "card.json",), lambda place: read_card(place / "card.json"))


ORIGINALS: dict[str, Callable[[Path], Call]] = {
    "patients table": patients_table,
    "record, exported": record,
    "record, in the reading room": record_in_the_room,
    "records, against one another": records_against_one_another,
    "signed record, exported": signed_record,
    "manifest": manifest,
    "bundle": bundle,
    "card": card,
    "stopped run, resumed": stopped_run,
    "own cells": own_cells,
    "drift profile": drift_profile,
    "split file": split_file,
    "zip archive": zip_archive,
    "gzipped GeoJSON": gzipped_geojson,
    "key": key,
    "database": database,
    "settings of the reading room": settings_of_the_room,
    "table of codes": table_of_codes,
    "configuration": configuration,
    "study configuration": study_configuration,
    "checkpoint": checkpoint,
}

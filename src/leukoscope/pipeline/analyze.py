"""`analyze`: photographs in; record.json, cells.csv and report.html out. Streams, and can be resumed."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import leukoscope
from leukoscope.allocation import give_memory_back
from leukoscope.cores import one_blas_thread
from leukoscope.errors import InputError
from leukoscope.flags import Knowledge, not_offered
from leukoscope.images.slides.shelf import put_away_copies
from leukoscope.models.bundle import Bundle, find_model, part_of_model
from leukoscope.models.devices import CPU, Device, choose_device
from leukoscope.pipeline.fields import Segmenter
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.lock import RunLock
from leukoscope.pipeline.on_ray import on_ray, setup_of
from leukoscope.pipeline.options import NO_RESULT, SAID_ELSEWHERE, AnalyzeOptions
from leukoscope.pipeline.own_cells import read_own_cells
from leukoscope.pipeline.packed import PackedSources
from leukoscope.pipeline.parts import remove_parts
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.ratios import Correction
from leukoscope.pipeline.repeats import find_repeats
from leukoscope.pipeline.resume import check_done, same_sources
from leukoscope.pipeline.ruler import first_of_each
from leukoscope.pipeline.slides import plan_slides, read_plans, write_plans
from leukoscope.pipeline.sources import Source, find_sources, read_facts
from leukoscope.pipeline.store_run import StoreRun
from leukoscope.pipeline.summary import write_record
from leukoscope.pipeline.threads import in_threads, load_analyzer, n_workers
from leukoscope.practice import MINIMUM_CELLS
from leukoscope.progress import Progress, no_progress
from leukoscope.report import write_cells_csv, write_patients_csv, write_report
from leukoscope.stores import is_address, local_path

USE = "Research use only. Not for diagnosis. A morphologist must review."
WORK = ".work"  # folder in `out` that holds the journal and the thumbnails


def analyze(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path | None = None,
    patients: str | Path | None = None,
    options: AnalyzeOptions | None = None,
    segmenter: Segmenter | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Analyse smear photographs and write `record.json`, `cells.csv`, `patients.csv` and `report.html` into `out`.

    paths     photographs, or folders of them; a patient is a folder
    model     a bundled model's name, or a model folder; None: the bundled one of the specimen
    patients  a table that says whose each picture is instead (columns file, patient_id, smear_id, center), and what is
              known of the patients (`read_facts`)
    segmenter finds and outlines cells in the place of the model's locator
    resume    go on with a run of the same pictures and options that was stopped; its record is the very same
    progress  called with (tiles looked at, in all) of a slide, before that with (megabytes copied, in all) of one in a
              store, or with (slides looked over, in all) of several; then with (photographs or regions done, in all)
    out may be an address in an object store ("s3://…"), as may paths and the table (extra stores).
    Returns the path of record.json; of a run in a store, that of the copy here.
    A picture that can't be read is listed with its reason and the run goes on.
    Raises InputError or ModelError before anything is written when the input, the options or `out` are wrong.
    """
    options = options or AnalyzeOptions()
    paths, said = [local_path(str(p)) if is_address(p) else p for p in paths], local_path(str(out))
    given = {"model": model, "patients": patients, "options": options, "segmenter": segmenter, "progress": progress}
    with one_blas_thread():
        if not is_address(said):
            return _analyze(paths, Path(said), resume=resume, **given)
        with StoreRun(said, WORK, resume=resume) as store:
            record = _analyze(paths, store.folder, resume=resume, store=store, **given)
            store.publish()
        return record


def _analyze(
    paths: Sequence[str | Path],
    out: Path,
    *,
    model: str | Path | None,
    patients: str | Path | None,
    options: AnalyzeOptions,
    segmenter: Segmenter | None,
    resume: bool,
    progress: Progress,
    store: StoreRun | None = None,
) -> Path:
    """`analyze` into a folder of this machine; `store` keeps the state of a run whose outputs go into a store."""
    models = _models(model, options, segmenter)
    card = part_of_model(models, "classify").card
    own_cells = None if options.own_cells is None else read_own_cells(options.own_cells, card)
    correction = (
        Correction.of(card) if own_cells is None else Correction.of(card, own_cells.confusion, own_cells.by_patient)
    )
    knowledge = Knowledge.of(card)
    sources = find_sources(paths, specimen=options.specimen, patients=patients)
    if own_cells is not None and len({s.key.center for s in sources}) > 1:
        raise InputError("own cells are of one laboratory, and these photographs of several: analyse each on its own")
    device = choose_device(options.device)
    provenance = _provenance(models, options, segmenter) | {"runs_on": device.facts()}
    if own_cells is not None:
        provenance["options"]["own_cells"] = own_cells.facts()
    head = {
        "leukoscope": provenance["leukoscope"],
        "models": provenance["models"],
        "options": {k: v for k, v in asdict(options).items() if k not in (*SAID_ELSEWHERE, *NO_RESULT)}
        | ({} if own_cells is None else {"own_cells": own_cells.sha256})
        | ({"whole": True} if options.whole else {})
        | ({} if device.name == CPU else {"device": device.name}),
    }
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected the path of a folder to write the report into")
    with RunLock(out / WORK), _copies_put_away({s.file for s in sources if is_address(s.file)}):
        looked = {"um_per_px": options.um_per_px, "whole": options.whole, "workers": n_workers(options.workers)}
        plan = partial(plan_slides, **looked, progress=progress)
        journal, sources = _open_journal(out, head, sources, resume=resume, plan=plan)
        sources = PackedSources(sources)
        if store is not None:
            store.begun(journal)
        try:
            # A run that is complete needs no models to write its record again.
            n_done, n_all = journal.n_sources, len(sources)
            run = (out, head, sources, n_done, models, options, segmenter, device)
            for done in _analysed(*run) if n_done < n_all else ():
                if store is not None:
                    store.note(journal, done.entries[0]["patient_id"])
                journal.write(*done)
                progress(journal.n_sources, n_all)
        finally:
            journal.close()
            if store is not None:
                store.keep(journal)
        remove_parts(out / WORK)
        give_memory_back()  # the models, and what photographs were worked on in: the report has other needs
        stated = {} if patients is None else read_facts(patients)
        said = {"correction": correction, "knowledge": knowledge, "stated": stated}
        return _write(out, journal, provenance=provenance, taxonomy=card.taxonomy, **said)


@contextmanager
def _copies_put_away(addresses: set[str]) -> Iterator[None]:
    """However the run ends, no copy of a slide of a store stays here."""
    try:
        yield
    finally:
        put_away_copies(addresses)


def _write(out: Path, journal: Journal, **said: object) -> Path:
    """The record, the tables and the report of a journal that is complete; returns the record's path."""
    record = out / "record.json"
    _write_record(record, journal, **said)
    give_memory_back()  # what was seen twice, and the patients: the report holds as much of very many photographs
    write_cells_csv(record, out / "cells.csv")
    write_patients_csv(record, out / "patients.csv")
    write_report(record, journal.thumbs_path, out / "report.html")
    return record


def _write_record(path: Path, journal: Journal, **said: object) -> None:
    repeats = find_repeats(journal.with_looks(), journal.n_of_patient)
    slides = read_plans(journal.slides_path)
    write_record(path, lambda: repeats.added_to(journal.fields()), slides=slides, **said)


def _models(model: str | Path | None, options: AnalyzeOptions, segmenter: Segmenter | None) -> dict[str, Bundle]:
    models = find_model(options.specimen if model is None else model)
    if model is None and "locate" not in models:  # a bundled classifier without a locator goes with blood's
        models["locate"] = part_of_model(find_model("blood"), "locate")
    if segmenter is not None and ("detect" in models or options.locator is not None):
        raise InputError("a segmenter finds the cells: take a model of several stages with it, and no other locator")
    if "detect" in models:
        if options.locator is not None:
            name = models["detect"].card.name
            raise InputError(f"model {name!r} finds and names cells in one stage: it takes no other locator")
        return models | {"locate": models["detect"], "classify": models["detect"]}
    if options.locator is not None:
        models["locate"] = part_of_model(find_model(options.locator), "locate")
    return models


def _provenance(models: dict[str, Bundle], options: AnalyzeOptions, segmenter: Segmenter | None) -> dict:
    """Where the record's numbers come from; no times, so that a resumed run writes the same."""
    classifier = part_of_model(models, "classify")
    knowledge = Knowledge.of(classifier.card)
    parts = {"classifier": classifier}
    if segmenter is None:
        parts = {"locator": part_of_model(models, "locate"), **parts}
    found_by = {} if segmenter is None else {"segmenter": {"name": segmenter.name, "weights_sha256": segmenter.sha256}}
    if "outline" in models:
        parts["outliner"] = models["outline"]
    return {
        "leukoscope": leukoscope.__version__,
        "models": found_by
        | {
            part: {
                "name": bundle.card.name,
                "onnx_sha256": bundle.card.onnx_sha256,
                # Thresholds, crop rule and temperature are in the card: the ONNX file alone is not the model.
                "card_sha256": hashlib.sha256((bundle.path / "card.json").read_bytes()).hexdigest(),
            }
            for part, bundle in parts.items()
        },
        **_described(classifier),
        "taxonomy": classifier.card.taxonomy.to_dict(),
        "taxonomy_sha256": classifier.card.taxonomy.sha256(),
        "specimen": options.specimen,
        "um_per_px": options.um_per_px,
        "min_cells": options.min_cells,
        "usual_min_cells": MINIMUM_CELLS[options.specimen],
        "unidentified_below": knowledge.least_prob,
        "not_offered": not_offered(classifier.card.taxonomy, options.specimen, knowledge),
        "options": {"tile_px": options.tile_px},
        "use": USE,
    }


def _described(classifier: Bundle) -> dict:
    """The attributes that the classifier's words are about, and how a report writes them; nothing where it has none."""
    rule = classifier.card.attributes
    if rule is None:
        return {}
    shown = [a for a in rule.attributes.attributes if a.name in rule.shown]
    of_each = [{"name": a.name, "part": a.part, "words": dict(zip(a.values, a.words, strict=True))} for a in shown]
    said = {"set": rule.attributes.name, "classes": list(rule.classes), "rule": rule.rule, "shown": of_each}
    return {"attributes": said}


def _open_journal(
    out: Path, head: dict, sources: list[Source], *, resume: bool, plan: Callable[[list[Source]], tuple]
) -> tuple[Journal, list[Source]]:
    """The journal of a new or a resumed run, and the run's photographs; InputError when `out` holds a run and was not
    to be resumed, or holds another one.

    plan  puts the regions of slides in their places (`plan_slides`), once for a run
    """
    journal = Journal(out / WORK)
    has_journal, has_record = journal.path.exists(), (out / "record.json").exists()
    if not resume and (has_journal or has_record):
        raise InputError(f"{out} holds a run already: give another folder, or --resume to go on with that run")
    if has_record and not has_journal:
        raise InputError(f"{out} holds a record without its journal ({WORK}/{journal.path.name}): give another folder")
    if not has_journal or not journal.is_begun():  # new, or killed before the first line was whole
        sources, plans = plan(sources)
        write_plans(journal.slides_path, plans)
        journal.begin(head, sources)
        return journal, sources
    journal.check_head(head)
    begun = journal.sources()
    sources = same_sources(begun, sources, out) if begun is not None else plan(sources)[0]
    try:
        journal.go_on(sources)
        check_done(journal, sources, n_workers(None))
    except BaseException:
        journal.close()
        raise
    return journal, sources


def _analysed(
    out: Path,
    head: dict,
    sources: Sequence[Source],
    n_done: int,
    models: dict[str, Bundle],
    options: AnalyzeOptions,
    segmenter: Segmenter | None,
    device: Device,
) -> Iterator[Analysed]:
    """The photographs from the `n_done`-th on, analysed by the engine that was chosen, in order."""
    first = first_of_each(sources)
    scale = {"um_per_px": options.um_per_px, "tile_px": options.tile_px, "device": device}
    if options.engine == "threads":
        todo = islice(sources, n_done, None)
        workers = min(n_workers(options.workers), len(sources) - n_done)
        return in_threads(todo, first, load_analyzer(models, segmenter=segmenter, **scale), workers)
    if segmenter is not None:
        raise InputError("the engine ray takes no segmenter, whose weights are in this process: leave --engine out")
    place = {"work": out / WORK, "n_done": n_done, "workers": options.workers, "address": options.address}
    return on_ray(sources, first, head=head, setup=setup_of(models, **scale), **place)

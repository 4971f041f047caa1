"""`analyze`: photographs in; record.json, cells.csv and report.html out. Streams, and can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import leukoscope
from leukoscope.entries import FieldEntry
from leukoscope.errors import InputError
from leukoscope.flags import Knowledge, not_offered
from leukoscope.models.bundle import Bundle, find_model, part_of_model
from leukoscope.pipeline.fields import Segmenter
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.lock import RunLock
from leukoscope.pipeline.on_ray import on_ray, setup_of
from leukoscope.pipeline.own_cells import read_own_cells
from leukoscope.pipeline.parts import remove_parts
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.ratios import Correction
from leukoscope.pipeline.repeats import Repeats, find_repeats
from leukoscope.pipeline.resume import check_done, same_sources
from leukoscope.pipeline.ruler import first_of_each
from leukoscope.pipeline.slides import plan_slides, read_plans, write_plans
from leukoscope.pipeline.sources import Source, find_sources, read_facts
from leukoscope.pipeline.summary import write_record
from leukoscope.pipeline.threads import in_threads, load_analyzer, n_workers
from leukoscope.practice import MINIMUM_CELLS
from leukoscope.report import write_cells_csv, write_patients_csv, write_report
from leukoscope.types import SPECIMENS

USE = "Research use only. Not for diagnosis. A morphologist must review."
ENGINES = ("threads", "ray")
NO_RESULT = ("workers", "engine", "address")  # options that change none
WORK = ".work"  # folder in `out` that holds the journal and the thumbnails


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """Settings of a run; all of them are written into its record, except those that change no result: `workers`,
    `engine`, `address`.

    locator    another model (a bundled one's name, or a folder) whose locator is used instead
    specimen   "blood" or "marrow"
    um_per_px  micrometres a pixel of every photograph; None: not known, and the record says so
    min_cells  patients with fewer counted cells are flagged and get no band; None: the specimen's own
               (`practice.MINIMUM_CELLS`)
    tile_px    longer fields are cut into tiles of this side; None: chosen by the smear's red cells
    workers    photographs analysed at a time; None: one a processor core, at most 8
    engine     "threads": this process; "ray": Ray's processes, here or on the cluster at `address` (pipeline.on_ray)
    own_cells  metrics.json of `leukoscope evaluate` with this model on labelled cells of the laboratory that the
               photographs come from: they correct the ratios together with the card's confusion matrix
    whole      of slides count all that can hold cells, not the monolayer alone
    """

    locator: str | None = None
    specimen: str = "blood"
    um_per_px: float | None = None
    min_cells: int | None = None
    tile_px: int | None = None
    workers: int | None = None
    own_cells: str | None = None
    whole: bool = False
    engine: str = "threads"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.specimen not in SPECIMENS:
            raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {self.specimen!r}")
        if self.min_cells is None:
            object.__setattr__(self, "min_cells", MINIMUM_CELLS[self.specimen])
        if self.um_per_px is not None and not 0 < self.um_per_px < 100:
            raise InputError(f"um_per_px must be between 0 and 100 micrometres a pixel, got {self.um_per_px}")
        if self.min_cells < 0:
            raise InputError(f"min_cells must be 0 or more, got {self.min_cells}")
        if self.engine not in ENGINES:
            raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.address is not None and self.engine != "ray":
            raise InputError("an address is that of a Ray cluster: it needs the engine ray")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be 1 or more, got {self.workers}")


def analyze(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path | None = None,
    patients: str | Path | None = None,
    options: AnalyzeOptions | None = None,
    segmenter: Segmenter | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Analyse smear photographs and write `record.json`, `cells.csv`, `patients.csv` and `report.html` into `out`.

    paths     photographs, or folders of them; a patient is a folder
    model     a bundled model's name, or a model folder; None: the bundled one for blood
    patients  a table that says whose each picture is instead (columns file, patient_id, smear_id, center), and what is
              known of the patients (`read_facts`)
    segmenter finds and outlines cells in the place of the model's locator
    resume    go on with a run of the same pictures and options that was stopped; its record is the very same
    progress  called with (photographs done, photographs in all)
    Returns the path of record.json. A picture that can't be read is listed with its reason and the run goes on.
    Raises InputError or ModelError before anything is written when the input, the options or `out` are wrong.
    """
    options = options or AnalyzeOptions()
    out = Path(out)
    models = _models(model, options, segmenter)
    card = part_of_model(models, "classify").card
    own = None if options.own_cells is None else read_own_cells(options.own_cells, card)
    correction = Correction.of(card) if own is None else Correction.of(card, own.confusion, own.by_patient)
    knowledge = Knowledge.of(card)
    sources = find_sources(paths, specimen=options.specimen, patients=patients)
    if own is not None and len({s.key.center for s in sources}) > 1:
        raise InputError("own cells are of one laboratory, and these photographs of several: analyse each on its own")
    provenance = _provenance(models, options, segmenter)
    if own is not None:
        provenance["options"]["own_cells"] = own.facts()
    head = {
        "leukoscope": provenance["leukoscope"],
        "models": provenance["models"],
        "options": {k: v for k, v in asdict(options).items() if k not in ("locator", "own_cells", "whole", *NO_RESULT)}
        | ({} if own is None else {"own_cells": own.sha256})
        | ({"whole": True} if options.whole else {}),
    }
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected the path of a folder to write the report into")
    with RunLock(out / WORK):
        plan = partial(plan_slides, um_per_px=options.um_per_px, whole=options.whole)
        journal, sources = _open_journal(out, head, sources, resume=resume, plan=plan)
        try:
            # A run that is complete needs no models to write its record again.
            n_done = journal.n_sources
            run = (out, head, sources, n_done, models, options, segmenter)
            for done in _analysed(*run) if n_done < len(sources) else ():
                journal.write(*done)
                if progress is not None:
                    progress(journal.n_sources, len(sources))
        finally:
            journal.close()
        remove_parts(out / WORK)
        record = out / "record.json"
        stated = {} if patients is None else read_facts(patients)
        said = {"correction": correction, "knowledge": knowledge, "stated": stated}
        said |= {"slides": read_plans(journal.slides_path)}
        repeats = find_repeats(journal.with_looks(), journal.n_of_patient)
        fields = partial(_fields, journal, repeats)
        write_record(record, fields, provenance=provenance, taxonomy=card.taxonomy, **said)
        write_cells_csv(record, out / "cells.csv")
        write_patients_csv(record, out / "patients.csv")
        write_report(record, journal.thumbs_path, out / "report.html")
    return record


def _fields(journal: Journal, repeats: Repeats) -> Iterator[FieldEntry]:
    """The record's entries, with what was seen twice."""
    return repeats.added_to(journal.fields())


def _models(
    model: str | Path | None, options: AnalyzeOptions, segmenter: Segmenter | None
) -> dict[str, Bundle]:
    if model is None and options.specimen != "blood":
        raise InputError(f"there is no bundled model for {options.specimen}: name the model to use (--model)")
    models = find_model("blood" if model is None else model)
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
    sources: list[Source],
    n_done: int,
    models: dict[str, Bundle],
    options: AnalyzeOptions,
    segmenter: Segmenter | None,
) -> Iterator[Analysed]:
    """The photographs from the `n_done`-th on, analysed by the engine that was chosen, in order."""
    first = first_of_each(sources)
    scale = {"um_per_px": options.um_per_px, "tile_px": options.tile_px}
    if options.engine == "threads":
        todo = sources[n_done:]
        workers = min(n_workers(options.workers), len(todo))
        return in_threads(todo, first, load_analyzer(models, segmenter=segmenter, **scale), workers)
    if segmenter is not None:
        raise InputError("the engine ray takes no segmenter, whose weights are in this process: leave --engine out")
    place = {"work": out / WORK, "n_done": n_done, "workers": options.workers, "address": options.address}
    return on_ray(sources, first, head=head, setup=setup_of(models, **scale), **place)

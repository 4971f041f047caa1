"""Writing the report: one self-contained file, or an index and a page a patient. Nothing is asked of the network."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType

from leukoscope.files import file_digest, write_whole
from leukoscope.report.choose import GALLERY_CAP, PICTURE_CAP, blast_ratio
from leukoscope.report.content import PATIENTS, Content, gather, list_name, page_name, plan_content
from leukoscope.report.known import Known, known_table
from leukoscope.report.patient_html import patient_section
from leukoscope.report.pictures import Places, SlidePictures, Thumbs
from leukoscope.report.record import Record, read_record
from leukoscope.report.run_html import (
    class_list,
    fields_of_patient,
    n_lists,
    patient_list,
    problem_fields,
    provenance,
    summary,
)
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import USE, class_words, escape

SINGLE_PATIENTS = 6  # at most so many, and
SINGLE_CELLS = 3000  # so many cells found, are one file; more are an index and a page a patient
SECTIONS = (("patients", "Patients"), ("problems", "Failed and poor fields"), ("provenance", "Provenance"),
            ("reading", "How to read this"))  # fmt: skip


def write_report(
    record_path: str | Path,
    thumbs_path: str | Path,
    out_html: str | Path,
    *,
    known: Sequence[Known] = (),
    places: Places = MappingProxyType({}),
) -> None:
    """Write the report of a record.

    A small run (SINGLE_PATIENTS, SINGLE_CELLS) is one self-contained file. A larger one is an index in its place and a
    page a patient in the folder `patients` beside it, each self-contained. The fields that are shown lie at full
    resolution in the folder `fields` beside it.

    thumbs_path is a JSON-lines file (`pictures.Thumbs`), beside which slides.jsonl holds the pictures under the maps of
    slides; cells without a line are shown without a picture. Shown
    fields are read again from the files that the record names. What is left out is said. Each file appears whole or
    not at all. Raises DataError. known: the truth of rendered patients, shown beside what was found. places: where
    photographs lie, and their digests, of a record whose own names for them say nothing.
    """
    record = read_record(record_path)
    out = Path(out_html)
    pages = len(record.patients) > SINGLE_PATIENTS or sum(p["n_cells"] for p in record.patients) > SINGLE_CELLS
    index, plan = plan_content(record, gallery_cap=GALLERY_CAP, picture_cap=PICTURE_CAP, pages=pages)
    slides = SlidePictures(Path(thumbs_path).with_name("slides.jsonl"))
    with Thumbs(thumbs_path, plan.cells()) as thumbs:
        settings = {"out": out, "pages": pages, "known": known, "places": places}
        content = gather(record, index, plan, thumbs, slides, **settings)
        with content.views:
            if pages:
                folder, shell = out.parent / PATIENTS, _shell(record, cells=True, sections=False)
                folder.mkdir(exist_ok=True)
                for row in plan.order:
                    _write(folder / page_name(row), shell, _patient_body(content, row))
                for number in range(1, n_lists(content)):
                    _write(out.with_name(list_name(out, number)), shell, patient_list(content, number))
            _write(out, _shell(record, cells=not pages, sections=True), _body(content))


def _write(path: Path, shell: Shell, body: Iterator[str]) -> None:
    before, after = shell.halves()
    with write_whole(path, encoding="utf-8", newline="\n") as file:
        file.write(before)
        for piece in body:
            file.write(piece)
        file.write(after)


def _body(content: Content) -> Iterator[str]:
    yield from summary(content)
    yield known_table(_known_rows(content))
    yield from patient_list(content)
    if not content.pages:
        for row in content.plan.order:
            yield from patient_section(content, row)
    yield from problem_fields(content)
    yield from provenance(content, file_digest(content.record.path))
    yield _reading(content.record)


def _patient_body(content: Content, row: int) -> Iterator[str]:
    yield from patient_section(content, row)
    yield f'<section id="provenance" aria-label="Classes">{class_list(content)}'
    if content.lists_apart:
        yield from fields_of_patient(content, row)
    yield "</section>"
    yield _reading(content.record)


def _known_rows(content: Content) -> list[tuple[Known, dict | None]]:
    patients = (content.record.patients[row] for row in content.plan.order)
    return [(content.known[p["patient_id"]], blast_ratio(p)) for p in patients if p["patient_id"] in content.known]


def _shell(record: Record, *, cells: bool, sections: bool) -> Shell:
    """A page of the report. cells: there are cells on it to look at; sections: it is about the whole run."""
    links = " ".join(f'<a href="#{anchor}">{words}</a>' for anchor, words in SECTIONS)
    return Shell(
        "Smear report",
        _meta(record),
        page_style("report.css", classes=record.taxonomy.names),
        script=_part("report.js") if cells else "",
        nav=f'\n<nav class="sections" aria-label="Sections">{links}</nav>' if sections else "",
        after="\n" + Template(_part("viewer.html")).substitute(use=USE) if cells else "",
    )


def _meta(record: Record) -> str:
    models = ", ".join(str(m.get("name")) for m in record.provenance["models"].values())
    return f"Specimen: {record.provenance.get('specimen', '')} · Models: {models} · Made by Leukoscope"


def _part(name: str) -> str:
    return (files("leukoscope.report") / name).read_text("utf-8")


def _reading(record: Record) -> str:
    return Template(_part("reading.html")).substitute(words=_words_note(record))


def _words_note(record: Record) -> str:
    if not record.attributes:
        return ""
    rule = escape(record.provenance["attributes"].get("rule", "").rstrip("."))
    classes = ", ".join(escape(class_words(c)) for c in record.provenance["attributes"].get("classes", ()))
    return (
        f"<li><b>Words</b> beside a cell (its size, nucleus, cytoplasm, granules): the classifier's second answer, for "
        f"cells called {classes} only. {rule}. A word that is missing was not sure; it says nothing else.</li>\n"
    )

"""Writing `report.html`: one self-contained file that never asks the network for anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from leukoscope.files import write_whole
from leukoscope.report.choose import GALLERY_CAP, PICTURE_CAP, blast_ratio
from leukoscope.report.content import Content, gather, plan_content
from leukoscope.report.known import Known, known_table
from leukoscope.report.patient_html import patient_section
from leukoscope.report.pictures import Thumbs
from leukoscope.report.record import Record, read_record
from leukoscope.report.run_html import patient_list, problem_fields, provenance, summary
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import USE, class_words, escape


def write_report(
    record_path: str | Path, thumbs_path: str | Path, out_html: str | Path, *, known: Sequence[Known] = ()
) -> None:
    """Write the report of a record.

    known: the truth of rendered patients, shown beside what was found.

    thumbs_path is a JSON-lines file of {"field": i, "cell": j, "jpeg": base64}, where i is the place in the record's
    fields; cells without a line are shown without a picture. Up to PICTURE_CAP fields are read again from the files
    that the record names. At most GALLERY_CAP cells are shown, and the report says how many are not. Memory does not
    grow with the number of fields beyond 20 bytes a cell. The file appears whole or not at all. Raises DataError.
    """
    record = read_record(record_path)
    out = Path(out_html)
    index, plan = plan_content(record, gallery_cap=GALLERY_CAP, picture_cap=PICTURE_CAP)
    with Thumbs(thumbs_path, plan.cells()) as thumbs, write_whole(out, encoding="utf-8", newline="\n") as file:
        content = gather(record, index, plan, thumbs, known)
        head, tail = _shell(record)
        file.write(head)
        for piece in _body(content):
            file.write(piece)
        file.write(tail)


def _body(content: Content) -> Iterator[str]:
    yield from summary(content)
    yield known_table(_known_rows(content))
    yield from patient_list(content)
    for row in content.plan.order:
        yield from patient_section(content, row)
    yield from problem_fields(content)
    yield from provenance(content, _sha256(content.record.path))


def _known_rows(content: Content) -> list[tuple[Known, dict | None]]:
    patients = (content.record.patients[row] for row in content.plan.order)
    return [(content.known[p["patient_id"]], blast_ratio(p)) for p in patients if p["patient_id"] in content.known]


def _shell(record: Record) -> tuple[str, str]:
    """The page before and after its body; the policy allows this script, this style and data: pictures only."""
    folder = files("leukoscope.report")
    script, template = ((folder / n).read_text("utf-8") for n in ("report.js", "template.html"))
    style = page_style("report.css", classes=record.taxonomy.names)
    policy = Shell("", "", style, script).policy()
    models = ", ".join(str(m.get("name")) for m in record.provenance["models"].values())
    page = Template(template).substitute(
        policy=policy,
        style=style,
        script=script,
        use=USE,
        specimen=escape(record.provenance.get("specimen", "")),
        models=escape(models),
        words=_words_note(record),
        body="\x00",
    )
    head, tail = page.split("\x00")
    return head, tail


def _words_note(record: Record) -> str:
    if not record.attributes:
        return ""
    rule = escape(record.provenance["attributes"].get("rule", "").rstrip("."))
    classes = ", ".join(escape(class_words(c)) for c in record.provenance["attributes"].get("classes", ()))
    return (
        f"<li><b>Words</b> beside a cell (its size, nucleus, cytoplasm, granules): the classifier's second answer, for "
        f"cells called {classes} only. {rule}. A word that is missing was not sure; it says nothing else.</li>\n"
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

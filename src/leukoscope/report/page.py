"""Writing `report.html`: one self-contained file that never asks the network for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template

from leukoscope.report.choose import GALLERY_CAP, PICTURE_CAP
from leukoscope.report.content import Content, gather, plan_content
from leukoscope.report.patient_html import patient_section
from leukoscope.report.pictures import Thumbs
from leukoscope.report.record import Record, read_record
from leukoscope.report.run_html import patient_list, problem_fields, provenance, summary
from leukoscope.report.words import USE, class_words, escape


def write_report(record_path: str | Path, thumbs_path: str | Path, out_html: str | Path) -> None:
    """Write the report of a record.

    thumbs_path is a JSON-lines file of {"field": i, "cell": j, "jpeg": base64}, where i is the place in the record's
    fields; cells without a line are shown without a picture. Up to PICTURE_CAP fields are read again from the files
    that the record names. At most GALLERY_CAP cells are shown, and the report says how many are not. Memory does not
    grow with the number of fields beyond 20 bytes a cell. The file appears whole or not at all. Raises DataError.
    """
    record = read_record(record_path)
    out = Path(out_html)
    partial = out.with_name(out.name + ".part")
    index, plan = plan_content(record, gallery_cap=GALLERY_CAP, picture_cap=PICTURE_CAP)
    with Thumbs(thumbs_path, plan.cells()) as thumbs, open(partial, "w", encoding="utf-8", newline="\n") as file:
        content = gather(record, index, plan, thumbs)
        head, tail = _shell(record)
        file.write(head)
        for piece in _body(content):
            file.write(piece)
        file.write(tail)
    partial.replace(out)


def _body(content: Content) -> Iterator[str]:
    yield from summary(content)
    yield from patient_list(content)
    for row in content.plan.order:
        yield from patient_section(content, row)
    yield from problem_fields(content)
    yield from provenance(content, _sha256(content.record.path))


def _shell(record: Record) -> tuple[str, str]:
    """The page before and after its body; the policy allows this script, this style and data: pictures only."""
    folder = files("leukoscope.report")
    style, script, template = ((folder / n).read_text("utf-8") for n in ("report.css", "report.js", "template.html"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
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


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

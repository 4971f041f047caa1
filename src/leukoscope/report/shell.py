"""One page shell for reports, checks and studies: what stands around the body, and what the page may load."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from leukoscope.report.colors import class_style
from leukoscope.report.words import USE, escape

_BODY = "\0"


@dataclass(frozen=True, slots=True)
class Shell:
    """A page without its body.

    title, meta  plain text: the heading and the line below it
    style        CSS (`page_style`); script: JavaScript, "" for none
    nav          HTML of the links below the heading; after: HTML behind the main part (a dialog)
    use          plain text of the banner
    images       where pictures may come from besides the page itself: "" nowhere, "'self'" the folders beside it
    """

    title: str
    meta: str
    style: str
    script: str = ""
    nav: str = ""
    after: str = ""
    use: str = USE
    images: str = ""

    def policy(self) -> str:
        """The Content-Security-Policy: this style, this script, pictures in the page, and nothing from anywhere."""
        scripts = f"script-src {_digest(self.script)}; " if self.script else ""
        return (
            f"default-src 'none'; img-src data:{' ' + self.images if self.images else ''}; "
            f"style-src {_digest(self.style)}; {scripts}base-uri 'none'; form-action 'none'"
        )

    def halves(self) -> tuple[str, str]:
        """HTML before and after the body."""
        text = (files("leukoscope.report") / "shell.html").read_text("utf-8")
        page = Template(text).substitute(
            policy=self.policy(),
            style=self.style,
            title=escape(self.title),
            meta=escape(self.meta),
            use=escape(self.use),
            nav=self.nav,
            after=self.after + (f"\n<script>{self.script}</script>" if self.script else ""),
            body=_BODY,
        )
        before, after = page.split(_BODY)
        return before, after


def page_style(*sheets: str, classes: tuple[str, ...] = ()) -> str:
    """CSS of a page: base.css, the sheets named (of this package), the colours k0, k1, … of `classes`."""
    folder = files("leukoscope.report")
    texts = [(folder / name).read_text("utf-8") for name in ("base.css", *sheets)]
    return "\n".join([*texts, class_style(classes)])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"

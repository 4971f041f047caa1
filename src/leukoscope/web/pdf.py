"""A signed record as a PDF to print and file (ReportLab, BSD)."""

import io
from functools import cache
from html import escape
from pathlib import Path

from leukoscope.exchange.workbook import summary_rows
from leukoscope.report.words import USE, class_words, percent

_FONTS = (Path("/usr/share/fonts/truetype/dejavu"), Path("/usr/share/fonts/dejavu"), Path("/Library/Fonts"))


def report_pdf(record: dict, digest: str) -> bytes:
    """The differential, ratios, flags and signature on A4; the digest of the signed record on every page."""
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table

    font, bold = _fonts()
    text = ParagraphStyle("text", fontName=font, fontSize=9.5, leading=13)
    head = ParagraphStyle("head", fontName=bold, fontSize=16, leading=20, spaceAfter=6)
    small = ParagraphStyle("small", fontName=font, fontSize=8, leading=10, textColor=colors.HexColor("#4d5966"))
    grid = [
        ("FONT", (0, 0), (-1, -1), font, 9),
        ("FONT", (0, 0), (-1, 0), bold, 9),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.HexColor("#d5dbe1")),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
    ]

    def words(value: object, style: ParagraphStyle = text) -> Paragraph:
        return Paragraph(escape(str(value)), style)

    facts = Table([[words(k), words(v)] for k, v in summary_rows(record)], colWidths=[38 * mm, 140 * mm])
    rows = [["Class", "Model", "Read", "Share"]]
    for r in record["numbers"]["differential"]:
        share = percent(r["share"]).replace("\u00a0", " ")
        rows.append([class_words(r["class"])[:60], str(r["before"]), str(r["count"]), share])
    log, corrected = record["log"], sum(c["call"] is not None and c["call"] != c["model"] for c in record["cells"])
    story = [
        words("Smear report", head),
        facts,
        Spacer(1, 6 * mm),
        Table(rows, colWidths=[70 * mm, 28 * mm, 28 * mm, 28 * mm], style=grid, repeatRows=1),
        Spacer(1, 5 * mm),
        words(f"{corrected} of {len(record['cells'])} cells were called otherwise than by the model, or added.", small),
        words(f"Record SHA-256 {record['record_sha256']}; log {log['events']} events, {log['hash']}", small),
    ]

    def frame(canvas, document) -> None:
        canvas.setFont(bold, 9)
        canvas.setFillColor(colors.HexColor("#7c1030"))
        canvas.drawCentredString(A4[0] / 2, A4[1] - 11 * mm, USE)
        canvas.setFont(font, 7)
        canvas.setFillColor(colors.HexColor("#4d5966"))
        canvas.drawString(16 * mm, 9 * mm, f"Signed record SHA-256 {digest}")
        canvas.drawRightString(A4[0] - 16 * mm, 9 * mm, f"Page {document.page}")

    out = io.BytesIO()
    margins = {"leftMargin": 16 * mm, "rightMargin": 16 * mm, "topMargin": 20 * mm, "bottomMargin": 18 * mm}
    SimpleDocTemplate(out, pagesize=A4, title="Smear report", author="Leukoscope", **margins).build(
        story, onFirstPage=frame, onLaterPages=frame
    )
    return out.getvalue()


@cache
def _fonts() -> tuple[str, str]:
    """DejaVu where the system has it, for names in any script; else Helvetica."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for folder in _FONTS:
        plain, bold = folder / "DejaVuSans.ttf", folder / "DejaVuSans-Bold.ttf"
        if plain.is_file() and bold.is_file():
            pdfmetrics.registerFont(TTFont("DejaVuSans", plain))
            pdfmetrics.registerFont(TTFont("DejaVuSans-Bold", bold))
            return "DejaVuSans", "DejaVuSans-Bold"
    return "Helvetica", "Helvetica-Bold"

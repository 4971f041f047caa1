"""What is known of a patient beforehand: the truth of a rendered one, set beside what was found."""

from dataclasses import dataclass

from leukoscope.entries import RatioEntry
from leukoscope.errors import InputError
from leukoscope.report.words import escape, name_of, percent, ratio_words


@dataclass(frozen=True, slots=True)
class Known:
    """One rendered patient. kind: what it was drawn as; n_blasts of n_counted cells were drawn as blasts."""

    patient_id: str
    kind: str
    n_blasts: int
    n_counted: int

    def __post_init__(self) -> None:
        if not 0 <= self.n_blasts <= self.n_counted or not self.n_counted:
            raise InputError(
                f"{self.patient_id}: known blasts must be 0 to the counted cells, of which there must be one; "
                f"got {self.n_blasts} of {self.n_counted}"
            )

    @property
    def blast_ratio(self) -> float:
        """The true share of blasts among the counted cells."""
        return self.n_blasts / self.n_counted


def known_table(rows: list[tuple[Known, dict | None]]) -> str:
    """HTML of what was drawn of each patient beside the blast ratio that was found; "" without any.

    rows  what is known, and the record's blast ratio of that patient
    """
    if not rows:
        return ""
    return (
        '<section id="known" aria-labelledby="known-h"><h2 id="known-h">What was drawn, and what was found</h2><p>These'
        " patients are rendered: drawings, whose every cell is known. That the ratios agree shows that the path from"
        " pixels to this page is right; it says nothing about accuracy on real smears.</p>"
        '<div class="scroll" role="region" tabindex="0" aria-label="Truth and report"><table class="list"><thead><tr>'
        '<th scope="col">Patient</th><th scope="col">Drawn as</th><th scope="col">True blast ratio</th><th'
        ' scope="col">Found</th><th scope="col">Truth in the interval</th></tr></thead>'
        f"<tbody>{''.join(_row(known, ratio) for known, ratio in rows)}</tbody></table></div></section>"
    )


def _row(known: Known, ratio: RatioEntry | None) -> str:
    printed, inside = "–", "–"
    if ratio is not None and ratio["value"] is not None:
        printed = ratio_words(ratio | {"band": None})
        inside = "yes" if ratio["low"] <= known.blast_ratio <= ratio["high"] else '<b class="bad">no</b>'
    return (
        f'<tr><th scope="row">{name_of(known.patient_id)}</th><td>{escape(known.kind)}</td><td class="num">'
        f"{percent(known.blast_ratio)} ({known.n_blasts:,} of {known.n_counted:,})</td>"
        f'<td class="num">{escape(printed)}</td>'
        f"<td>{inside}</td></tr>"
    )

"""A ratio corrected for the classifier's errors, in words a haematologist uses, and the cells still needed.

Records of before corrections (and of models without a confusion matrix) have none: then nothing, or one line, is said.
"""

import math

from leukoscope.entries import CorrectedEntry, Further, RatioEntry
from leukoscope.report.charts import interval_bar
from leukoscope.report.words import BAND_EDGES, bands_covered, class_words, escape, percent, plural, ratio_words

WITHIN_REACH = 2000  # further cells: four to ten times what laboratories count of a smear; a smear seldom holds more
_RATE_SLACK = 0.005  # a share of unvalidated cells below this is not worth a sentence


def corrected_ratio(ratio: RatioEntry) -> str:
    """HTML of the corrected ratio below the counted one; "" where the record says nothing of it."""
    if "corrected" not in ratio or ratio["value"] is None:
        return ""
    title = "<h4>Corrected for the classifier's errors</h4>"
    corrected = ratio["corrected"]
    if corrected is None:
        return f'{title}<p class="hint">Not corrected: the model\'s card has no confusion matrix.</p>'
    name = class_words(ratio["name"])
    if corrected["value"] is None:
        return f"{title}<p>{escape(no_correction_words(corrected, name))}</p>"
    shown = corrected | {"name": f"corrected {class_words(ratio['name'])}", "band": None}
    bar = interval_bar(shown, banded=bool(ratio.get("lines")))
    doubt = ""
    if corrected["reason"] is not None:
        doubt = f'<p class="doubtful">{escape(misfit_words(ratio, name))}</p>'
    return (
        f'{title}<p class="words"><b>{escape(ratio_words(shown))}.</b>{_reach(ratio)}</p>{bar}{doubt}<details><summary>'
        "Errors reckoned with, and further cells</summary><dl><dt>Errors"
        f" reckoned with</dt><dd>{escape(rates_words(corrected, name))}</dd><dt>Interval</dt><dd>It covers"
        f" {escape(str(corrected['covers']).rstrip('.'))}.</dd>{further_cells(ratio, corrected)}</dl></details>"
    )


def further_cells(ratio: RatioEntry, corrected: CorrectedEntry | None = None) -> str:
    """ "Further cells" as a term and its description: for chance alone, or for the corrected ratio; "" without any."""
    entries = (corrected or ratio).get("further_cells") or []
    if not entries or ratio["value"] is None:
        return ""
    value = (corrected or ratio)["value"]
    text = "; ".join(_line_words(e, value, corrected is not None) for e in entries)
    return f"<dt>Further cells to settle a line</dt><dd>{escape(text)}.</dd>"


def rates_words(corrected: CorrectedEntry, name: str) -> str:
    """What validation showed of the classifier, and what that is for this patient's mix of cells."""
    hit, alarm = corrected["sensitivity"], corrected["false_alarm"]
    n_own = corrected.get("own_cells", 0)
    where = f"in validation and {n_own:,} labelled cells of this laboratory" if n_own else "in validation"
    text = (
        f"{where} it called {hit['n_called']:,} of {hit['n_cells']:,} {name} by that name, and "
        f"{alarm['n_called']:,} of {alarm['n_cells']:,} other cells. With this patient's mix of cells: "
        f"{_rate(hit)} found, {_rate(alarm)} of the others called {name}."
    )
    if corrected["unseen"] is not None and corrected["unseen"] > _RATE_SLACK:
        text += (
            f" {percent(corrected['unseen'], 0)} of the cells are of kinds that were never validated: their error "
            "rates may be anything, which widens the interval."
        )
    text += scatter_words(corrected)
    return text[0].upper() + text[1:]


def scatter_words(corrected: CorrectedEntry) -> str:
    """How much patients differ, from where that is known, and what the cells are worth; "" in records of before."""
    scatter, worth = corrected.get("scatter"), corrected.get("worth")
    if scatter is None:
        return ""
    sd, n = scatter["sd"], scatter["n_patients"]
    low, high = (1 / (1 + math.exp(-(math.log(0.05 / 0.95) + turn * 1.96 * sd))) for turn in (-1, 1))
    what = f"a rate of 5 % would lie between {100 * low:.1f} and {percent(high)} in 95 of 100 patients"
    if n:
        text = f" Patients differ, as {plural(n, 'validation ' + scatter['unit'])} showed: {what}."
    else:
        text = f" How much patients differ is not known, for validation tells none apart; it is assumed that {what}."
    return text if worth is None else f"{text} For this ratio they are worth {worth:,.0f} cells counted without error."


def no_correction_words(corrected: CorrectedEntry, name: str) -> str:
    """Why there is no corrected value."""
    hit, alarm = corrected["sensitivity"], corrected["false_alarm"]
    known = f" It called {alarm['n_called']:,} of {alarm['n_cells']:,} other validation cells {name}."
    return {
        "no_cells": "No cells were counted.",
        "numerator_not_validated": f"Not possible: the model's validation cells held no {name}, so how many it misses "
        f"is not known.{known if alarm['n_cells'] else ''}",
        "class_not_validated": f"Not possible: {percent(corrected['unseen'], 0)} of the cells are of kinds that were "
        "never validated, so how often they are called wrongly is not known.",
        "unidentified_not_validated": "Not possible: some cells were not identified, and the model's validation does "
        f"not say how many {name} and how many other cells are not.",
        "others_not_validated": f"Not possible: the model's validation cells held nothing but {name}, so how many "
        "other cells it calls so is not known.",
        "classifier_cannot_tell": f"Not possible: in validation the model called {hit['n_called']:,} of "
        f"{hit['n_cells']:,} {name} by that name, and {alarm['n_called']:,} of {alarm['n_cells']:,} other cells: it "
        "was not shown to tell them apart, so its calls say nothing of the ratio.",
    }.get(corrected["reason"], f"Not possible: {corrected['reason']}.")


def misfit_words(ratio: RatioEntry, name: str) -> str:
    """The doubt where the calls are fewer, or more, than the validated error rates allow."""
    few = ratio["corrected"]["value"] < 0.5
    what = f"Fewer cells were called {name} than false alarms alone would give" if few else (
        f"More cells were called {name} than the model finds where all are"
    )  # fmt: skip
    return f"{what}: on these pictures it errs otherwise than in its validation. Don't rely on this correction."


def _reach(ratio: RatioEntry) -> str:
    """Where the corrected interval lies between the lines, for a ratio that may be read against them."""
    if not ratio.get("lines"):
        return ""
    what, end = ("band ", "") if ratio["band"] is not None else ("", ", for orientation only")
    names = bands_covered(ratio["corrected"]["low"], ratio["corrected"]["high"])
    if len(names) == 1:
        return f" It lies in {what}{escape(names[0])}{end}."
    return f" It reaches from {what}{escape(names[0])} to {what}{escape(names[-1])}{end}."


def _rate(rate: dict) -> str:
    return f"{percent(rate['value'])} ({100 * rate['low']:.1f} to {percent(rate['high'])})"


def _line_words(entry: Further, value: float, corrected: bool) -> str:
    line, cells = entry["threshold"], entry["cells"]
    where = percent(line, 0 if line in BAND_EDGES else 1)
    if cells == 0:
        return f"{where}: none ({'above' if value >= line else 'below'})"
    if cells is None:
        return f"{where}: no number of cells, " + (
            "the classifier's errors leave it open" if corrected else "the share is too close"
        )
    if cells > WITHIN_REACH:
        return f"{where}: not within reach (more than {WITHIN_REACH:,} more)"
    fields = entry.get("fields")
    photographs = "" if fields is None else f", {plural(fields, 'photograph')} like these"
    return f"{where}: about {cells:,} more{photographs}"

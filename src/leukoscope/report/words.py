"""Plain words for classes, reasons, bands and numbers; escaping. Percent exist only here and in what uses this."""

import html
import re

from leukoscope.entries import FlagEntry, PatientEntry, RatioEntry
from leukoscope.practice import BAND_EDGES
from leukoscope.taxonomy.vocabulary import CLASSES, CellClass

USE = "Research use only — not for diagnosis; a morphologist must review"
_UNKNOWN = CellClass()

_REASONS = {
    "missing": "the file was not found",
    "no_permission": "no permission to read it",
    "read_error": "the drive or the network failed",
    "changed": "the file changed while it was read",
    "slide": "a whole slide, not a photograph",
    "empty": "nothing to see: empty file or empty field",
    "not_an_image": "not an image",
    "truncated": "the file is cut short",
    "too_large": "too large to read safely",
    "no_monolayer": "no monolayer was found on the slide",
    "unsupported": "a kind of image that is not supported",
    "damaged": "the file is damaged",
    "blurred": "out of focus",
    "too_dark": "too dark",
    "too_bright": "too bright",
    "low_stain_contrast": "weak stain contrast",
    "crowded": "too crowded for single cells",
    "no_color": "no colour: a stain can't be judged in grey",
    "not_stained": "its colours are not those of a stained smear",
    "channels_swapped": "red and blue seem to be exchanged (a camera program saved BGR as RGB)",
    "too_small": "too small: cells need a higher magnification",
}

_BANDS = {"<5": "below 5 %", "5-9": "5–9 %", "10-19": "10–19 %", ">=20": "20 % or more"}
_BAND_NAMES = tuple(_BANDS.values())

_OF = {"leukocytes": "leukocytes", "nucleated_cells": "all nucleated cells"}

# Why a ratio has no band (count.read_bands); {n} and {minimum} are cells.
_BAND_REASONS = {
    "composite": "The ELN/ICC bands do not apply to this ratio",
    "lymphoid": "The bands of ELN and ICC are for myeloid blasts; they do not apply to lymphoblasts",
    "several_lines": "No band: these are blasts of both lines; the myeloid ones have a ratio and a band of their own",
    "lineage_not_known": "No band: this model does not know the line of a blast, and the bands are for myeloid blasts. "
    "The lines at 5, 10 and 20 % are for orientation only",
    "too_few_cells": "No band: {n} {of} were counted, and a band needs {minimum}",
    "all_nucleated_cells": "No band: an older version made this record and counted nucleated red cells among the "
    "cells that the ratio is a share of",
}

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


def escape(value: object) -> str:
    """Text safe in HTML content and in quoted attributes; characters that HTML can't hold become U+FFFD."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True)


def name_of(value: object) -> str:
    """A file name or an id as HTML: escaped, and its direction kept from reordering what stands around it."""
    return f"<bdi>{escape(value)}</bdi>"


def class_words(class_name: str) -> str:
    """ "segmented_neutrophil" -> "segmented neutrophil"; not escaped (a user's own taxonomy may hold anything)."""
    return CLASSES.get(class_name, _UNKNOWN).words or class_name.replace("_", " ")


def class_short(class_name: str) -> str:
    """A short form for boxes on small screens; not escaped."""
    return CLASSES.get(class_name, _UNKNOWN).short or class_name.replace("_", " ").upper()[:8]


def reason_words(reason: str | None) -> str:
    """Plain words for a reason; several codes may be joined by commas. Unknown text stays as it is; not escaped."""
    if not reason:
        return "no reason was recorded"
    parts = [p.strip() for p in str(reason).split(",")]
    return "; ".join(_REASONS[p] for p in parts) if all(p in _REASONS for p in parts) else str(reason)


def cell_words(said: dict[str, str], attributes: tuple[dict, ...]) -> list[tuple[str, str]]:
    """[("Nucleus", "two lobes, dense chromatin"), ...] of a cell's attributes, by part, each word once; not escaped.

    attributes  name, part and words (value -> words) of each attribute that the record's model may speak of
    """
    parts: dict[str, dict[str, None]] = {}
    for attribute in attributes:
        value = said.get(attribute["name"])
        if value is not None:
            words = str(attribute["words"].get(value, value))
            parts.setdefault(str(attribute["part"]), {})[words] = None
    return [(part[:1].upper() + part[1:], ", ".join(words)) for part, words in parts.items()]


def plural(number: int, one: str, many: str | None = None) -> str:
    """ "1 cell", "2 cells", "12,345 cells"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.12 -> "12.0 %" (with a space that does not break); None -> a dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def band_words(band: str | None) -> str | None:
    """ "10-19" -> "10–19 %"; None where no band applies."""
    return None if band is None else _BANDS.get(band, str(band))


def of_words(of: str) -> str:
    """What a ratio is a share of: "leukocytes", "all nucleated cells"."""
    return _OF.get(of, of.replace("_", " "))


def cells_words(of: str) -> str:
    """The same after a number: "leukocytes", "nucleated cells"."""
    return of_words(of).removeprefix("all ")


def no_band_words(ratio: RatioEntry) -> str | None:
    """Why the ratio has no band, as a sentence; None where it has one or no cell was counted."""
    reason = ratio.get("band_reason")
    if ratio["band"] is not None or reason in (None, "no_cells"):
        return None
    facts = {"n": f"{ratio['denominator']:,}", "minimum": f"{ratio.get('band_minimum', 0):,}"}
    return _BAND_REASONS.get(reason, f"No band: {reason}").format(of=cells_words(ratio.get("of", "")), **facts) + "."


def none_seen_words(ratio: RatioEntry) -> str | None:
    """What a count without any such cell can have missed, and what would settle it; None where there was one."""
    none = ratio.get("none_seen")
    if not none:
        return None
    name = "blast" if ratio["name"] == "blasts" else class_words(ratio["name"])
    further = [e for e in none["further_cells"] if e["cells"]]
    text = (
        f"No {name} seen: {plural(ratio['denominator'], 'cell')} without one leave up to {percent(none['upper'])} "
        f"possible (one-sided {percent(none['level'], 0)} limit, if none is called wrongly)"
    )
    for e in further:
        fields = "" if e["fields"] is None else f" ({plural(e['fields'], 'photograph')} like these)"
        text += f"; {plural(e['cells'], 'more cell')}{fields} without one would exclude {percent(e['threshold'], 0)}"
    return text + "."


def flag_words(flag: FlagEntry) -> str:
    """A flag's text and, where it is known, how often healthy smears carry it."""
    healthy = flag.get("healthy")
    if not healthy:
        return str(flag["text"])
    return (
        f"{flag['text']} {percent(healthy['rate'], 0)} of healthy {healthy['n_cells']:,}-cell films carry this flag "
        f"({100 * healthy['low']:.0f} to {percent(healthy['high'], 0)}; {healthy['set']})."
    )


def bands_covered(low: float, high: float) -> list[str]:
    """The ELN/ICC bands that an interval [low, high] reaches, in words, lowest first."""
    first = sum(low >= edge for edge in BAND_EDGES)
    last = sum(high >= edge for edge in BAND_EDGES)
    return list(_BAND_NAMES[first : last + 1])


def ratio_words(ratio: RatioEntry) -> str:
    """ "12.0 % (95 % interval 6.4 to 20.0 %), band 10–19 %"."""
    if ratio["value"] is None:
        return "no ratio: no cells were counted"
    text = (
        f"{percent(ratio['value'])} ({percent(ratio['level'], 0)} interval "
        f"{100 * ratio['low']:.1f} to {percent(ratio['high'])})"
    )
    band = band_words(ratio["band"])
    return f"{text}, band {band}" if band else text


def counted_words(patient: PatientEntry, minimum: int, usual: int) -> str:
    """The cells of the denominator, what laboratories call such a count, and whether fewer were asked for."""
    text = f"{patient['n_counted']:,} {cells_words(patient['denominator'])}: {patient['count_tier']}"
    few = f"fewer than the {minimum:,} asked for" if patient["n_counted"] < minimum else f"{minimum:,} were asked for"
    if minimum < usual:
        return f"{text}; {few}, laboratories count {usual:,}"
    return f"{text}; {few}" if patient["n_counted"] < minimum else text

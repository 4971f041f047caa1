"""Sources: whose codes a data set speaks, and what its files state beside the annotations.

A `Source` is plain data. The public ones stand in sources.toml; a user's own is a TOML file with the same keys.
"""

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from leukoscope.errors import UNREADABLE, DataError, InputError

COORDINATES = ("pixels", "relative")


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a source; the empty name is "no source": codes are then names of our vocabulary.

    codes            code -> (our class, the source's wording)
    code_pattern     a regular expression whose group 1, in the file's name, is a finer code than the annotation's
    code_attribute   the attribute of each object that holds its class, where its label says only "cell"
    subject_pattern  the same for the patient
    table, columns, coordinates, image_name, mask_name   see `table.read_csv`
    label_attributes numbers behind each YOLO box that are attributes of the cell, see `yolo.read_yolo`
    box_px           side of the square around a centroid, see `xyc.read_xyc`
    type_table       a table that types pictures; type_image its image's name, type_code the code it refines
    attributes       attribute set of a table of attributes: a name of `taxonomy.ATTRIBUTE_SETS`, or a file
    """

    name: str
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    licence: str = "not stated"
    citation: str = "not stated"
    center: str = ""
    specimen: str = "blood"
    um_per_px: float | None = None
    code_pattern: str | None = None
    code_attribute: str | None = None
    subject_pattern: str | None = None
    table: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    coordinates: str = "pixels"
    image_name: str = "{}"
    mask_name: str | None = None
    label_attributes: int = 0
    box_px: float | None = None
    type_table: str | None = None
    type_image: str = "{}"
    type_code: str = ""
    attributes: str | None = None


def read_source(source: str | Path | None) -> Source:
    """A source by name (see SOURCES) or from a TOML file; None is "no source"."""
    if source is None:
        return Source(name="")
    if str(source) in SOURCES:
        return SOURCES[str(source)]
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no source {str(source)!r}: expected one of {', '.join(SOURCES)} or the path of a TOML file")
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except UNREADABLE as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    return _source_from_dict(values, path)


def changed_source(source: Source, *, columns: dict[str, str], stated: dict[str, str]) -> Source:
    """The source with what the user states over it; InputError for a key that can't be stated so, or a wrong value."""
    unknown = sorted(set(stated) - {"coordinates", "code_attribute"})
    if unknown:
        raise InputError(f"a source's {', '.join(unknown)} can't be stated here: write a TOML table (docs/format.md)")
    if stated.get("coordinates", source.coordinates) not in COORDINATES:
        raise InputError(f"coordinates must be {' or '.join(COORDINATES)}, got {stated['coordinates']!r}")
    return replace(source, columns={**source.columns, **columns}, **stated)


_TABLES, _NUMBERS = ("codes", "columns"), ("um_per_px", "box_px", "label_attributes")


def _check_types(values: dict, path: Path) -> None:
    """Every key of a user's table holds what `Source` expects, and its name patterns can be filled in."""
    for key, value in values.items():
        expected: type | tuple = dict if key in _TABLES else (int, float) if key in _NUMBERS else str
        if not isinstance(value, expected) or isinstance(value, bool):
            kind = "a table" if key in _TABLES else "a number" if key in _NUMBERS else "a text"
            raise DataError(f"{path}: {key} must be {kind}, got {value!r}")
    for key in ("image_name", "mask_name", "type_image"):
        try:
            values.get(key, "{}").format("1")
        except (IndexError, KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{path}: {key} must hold {{}} where the table's value goes, got {values[key]!r}") from None


def _source_from_dict(values: dict, path: Path) -> Source:
    """A user's table: the keys of `Source`; `codes` maps a code to our class, or to {class, wording}."""
    unknown = sorted(set(values) - set(Source.__dataclass_fields__))
    if unknown:
        known = ", ".join(Source.__dataclass_fields__)
        raise DataError(f"{path} has unknown keys {', '.join(unknown)}: expected some of {known}")
    _check_types(values, path)
    codes = values.get("codes")
    if not isinstance(codes, dict) or not codes:
        raise DataError(f'{path} has no codes: expected a table [codes] with lines like "WBC" = "white_cell"')
    rows = {}
    for code, meaning in codes.items():
        row = (meaning, code) if isinstance(meaning, str) else None
        if isinstance(meaning, dict) and set(meaning) == {"class", "wording"}:
            row = (meaning["class"], meaning["wording"])
        if row is None:
            raise DataError(
                f"{path}: code {code!r} must be a class name or {{class = ..., wording = ...}}, got {meaning!r}"
            )
        rows[str(code)] = row
    for key in ("code_pattern", "subject_pattern"):
        pattern = values.get(key)
        try:
            if pattern is not None and re.compile(pattern).groups < 1:
                raise DataError(
                    f"{path}: {key} needs a group in parentheses that is the code or the patient, got {pattern!r}"
                )
        except re.error as error:
            raise DataError(f"{path}: {key} is not a regular expression ({error}): {pattern!r}") from None
    return Source(**{**values, "name": values.get("name") or path.stem, "codes": rows})


def _shipped() -> dict[str, Source]:
    path = Path(__file__).with_name("sources.toml")
    tables = tomllib.loads(path.read_text("utf-8"))
    return {name: _source_from_dict({**values, "name": name}, path) for name, values in tables.items()}


SOURCES = _shipped()

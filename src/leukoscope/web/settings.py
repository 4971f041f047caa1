"""What a laboratory sets, as TOML: the keys of classes, the rules for signing, the costs of confusing two classes."""

import json
import string
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from sqlalchemy import insert, select

from leukoscope.errors import UNREADABLE, InputError
from leukoscope.taxonomy import Taxonomy
from leukoscope.web.store import tables as t
from leukoscope.web.store.accounts import ROLES
from leukoscope.web.store.engine import Store
from leukoscope.web.store.opening import now_ms
from leukoscope.web.store.readings import NOT_A_CELL, UNIDENTIFIED

# Keys that the pages themselves take.
TAKEN = frozenset("zwqch?/ ,.")
BLAST_RULES = ("called", "seen", "any")
_NEWEST = select(t.settings.c.toml).order_by(t.settings.c.id.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class SignRules:
    """What must hold before a patient is signed; see defaults.toml."""

    unidentified: int
    blasts: str
    seen: float
    counted: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostRow:
    """What it costs to leave a cell of a class of `truth` in a class of `called`."""

    truth: tuple[str, ...]
    called: tuple[str, ...]
    cost: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The laboratory's settings, checked, and the text they were read from."""

    text: str
    keys: dict[str, str]
    sign: SignRules
    costs: tuple[CostRow, ...]
    cost_default: float
    cost_source: str
    patient_system: str | None

    def keys_of(self, taxonomy: Taxonomy) -> dict[str, str]:
        """Class (and the two calls beside the classes) -> key, no key twice."""
        names = (*taxonomy.names, UNIDENTIFIED, NOT_A_CELL)
        used, out = set(TAKEN), {}
        for name in names:
            key = self.keys.get(name)
            if key is not None and key not in used:
                out[name] = key
                used.add(key)
        free = [k for k in string.ascii_lowercase + "123456789-=[];'" if k not in used]
        for name in names:
            if name not in out and free:
                out[name] = free.pop(0)
        return out

    def cost_matrix(self, taxonomy: Taxonomy) -> np.ndarray:
        """(C, C) float: row the true class, column the class that a cell was left in; 0 on the diagonal."""
        groups = {"blasts": taxonomy.blasts, "artefacts": taxonomy.artefacts, "counted": taxonomy.counted}
        groups["*"] = taxonomy.names

        def column(names: tuple[str, ...]) -> np.ndarray:
            members = {m for name in names for m in groups.get(name, (name,))}
            return np.array([name in members for name in taxonomy.names])

        n = len(taxonomy.names)
        costs = np.full((n, n), self.cost_default)
        for row in reversed(self.costs):
            costs[np.ix_(column(row.truth), column(row.called))] = row.cost
        np.fill_diagonal(costs, 0.0)
        return costs


@lru_cache(1)
def default_settings() -> Settings:
    """The settings that ship."""
    return read_settings((files("leukoscope.web") / "defaults.toml").read_text("utf-8"))


@lru_cache(8)  # every page asks for the same text
def read_settings(text: str) -> Settings:
    """Settings from TOML; InputError says what is wrong. Parts that are missing are the shipped ones."""
    try:
        given = tomllib.loads(text)
    except UNREADABLE as error:
        raise InputError(f"the settings are not valid TOML: {error}") from None
    shipped = tomllib.loads((files("leukoscope.web") / "defaults.toml").read_text("utf-8"))
    unknown = sorted(set(given) - set(shipped))
    if unknown:
        raise InputError(f"the settings have no part {', '.join(unknown)}: expected {', '.join(shipped)}")
    parts = {name: given.get(name, shipped[name]) for name in shipped}
    wrong = [name for name, part in parts.items() if not isinstance(part, dict)]
    if wrong:
        raise InputError(f"{', '.join(wrong)} in the settings must be a table")
    rows = parts["costs"].get("rows", [])
    default = parts["costs"].get("default", 1.0)
    if not _number(default, 0):
        raise InputError(f"costs.default must be a number of 0 or more, got {default!r}")
    return Settings(
        text,
        _keys(parts["keys"]),
        _sign(shipped["sign"] | parts["sign"], known=set(shipped["sign"])),
        tuple(_cost_row(number, row) for number, row in enumerate(rows, 1)),
        float(default),
        str(parts["costs"].get("source", "not stated")),
        _patient_system(parts["exchange"]),
    )


def with_keys(settings: Settings, keys: dict[str, str], taxonomies: Iterable[Taxonomy]) -> str:
    """The settings' text with other keys for some calls ("": none of its own); comments in that table go.

    InputError for two calls of one taxonomy with the same key; whether a key may be one is `read_settings`'s to say.
    """
    now = {name: key for name, key in (settings.keys | keys).items() if key}
    for taxonomy in taxonomies:
        taken: dict[str, str] = {}
        for name in (*taxonomy.names, UNIDENTIFIED, NOT_A_CELL):
            other = taken.setdefault(now.get(name, name), name)
            if other != name:
                raise InputError(f"{other} and {name} can't both have the key {now[name]!r}")
    table = [f"{json.dumps(name)} = {json.dumps(key, ensure_ascii=False)}" for name, key in now.items()]
    lines = settings.text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.strip() == "[keys]"), None)
    if start is None:
        return "\n".join([*lines, "", "[keys]", *table, ""])
    end = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    while end > start + 1 and lines[end - 1].lstrip().startswith("#"):  # comments above the next table are its own
        end -= 1
    return "\n".join([*lines[: start + 1], *table, "", *lines[end:], ""])


def stored_settings(store: Store) -> Settings:
    """The newest settings in the database; the shipped ones where none were set."""
    with store.reading() as connection:
        text = connection.execute(_NEWEST).scalar()
    return default_settings() if text is None else read_settings(text)


def store_settings(store: Store, text: str, *, reader_id: int | None) -> Settings:
    """Keep new settings beside the old ones, with who set them; InputError where they are wrong."""
    settings = read_settings(text)
    with store.writing() as connection:
        connection.execute(insert(t.settings).values(reader_id=reader_id, at=now_ms(), toml=text))
    return settings


def _keys(keys: dict) -> dict[str, str]:
    for name, key in keys.items():
        if not isinstance(key, str) or len(key) != 1 or not key.isprintable() or key in TAKEN or key.isupper():
            taken = " ".join(sorted(TAKEN - {" "}))
            raise InputError(f"keys.{name} must be one small letter, digit or sign, not one of {taken}; got {key!r}")
    return dict(keys)


def _sign(rules: dict, *, known: set[str]) -> SignRules:
    unknown = sorted(set(rules) - known)
    if unknown:
        raise InputError(f"sign has no rule {', '.join(unknown)}: expected {', '.join(sorted(known))}")
    for name, most in (("unidentified", None), ("counted", None), ("seen", 1)):
        if not _number(rules[name], 0, most):
            raise InputError(f"sign.{name} must be a number of 0 or more, got {rules[name]!r}")
    if rules["blasts"] not in BLAST_RULES:
        raise InputError(f"sign.blasts must be one of {', '.join(BLAST_RULES)}, got {rules['blasts']!r}")
    roles = rules["roles"]
    if not isinstance(roles, list) or not roles or any(role not in ROLES for role in roles):
        raise InputError(f"sign.roles must list some of {', '.join(ROLES)}, got {roles!r}")
    return SignRules(
        int(rules["unidentified"]), rules["blasts"], float(rules["seen"]), int(rules["counted"]), tuple(roles)
    )


def _patient_system(part: dict) -> str | None:
    system = part.get("patient_system", "")
    if set(part) - {"patient_system"} or not isinstance(system, str) or any(c.isspace() for c in system):
        raise InputError(f"exchange holds patient_system, an address without spaces or nothing, got {part!r}")
    return system or None


def _cost_row(number: int, row: object) -> CostRow:
    where = f"costs.rows, row {number}"
    if not isinstance(row, dict) or set(row) != {"truth", "called", "cost"} or not _number(row["cost"], 0):
        raise InputError(f"{where} needs truth, called (lists of classes) and cost (0 or more), got {row!r}")
    for side in ("truth", "called"):
        if not isinstance(row[side], list) or not all(isinstance(name, str) for name in row[side]):
            raise InputError(f"{where}: {side} must be a list of classes, got {row[side]!r}")
    return CostRow(tuple(row["truth"]), tuple(row["called"]), float(row["cost"]))


def _number(value: object, least: float, most: float | None = None) -> bool:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return good and least <= value <= (most if most is not None else 1e9)

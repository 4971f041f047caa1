"""Abnormal or normal, by two counts of the same patients: agreement, and what chance alone would leave of it.

Limits are data (`limits.toml`, or a file of the laboratory's own), each with its source. A patient is abnormal in one
kind (distribution, morphology) where any of its limits is crossed.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from leukoscope.errors import UNREADABLE, InputError
from leukoscope.evaluate.counts import Aligned, ancestors
from leukoscope.intervals import Limits, clopper_pearson
from leukoscope.taxonomy import VOCABULARY

KINDS = ("distribution", "morphology")
KEYS = frozenset(("specimen", "kind", "class", "low", "high", "from", "above", "source"))
N_DRAWS = 1000
_SLACK = 1e-9  # 2 of 100 cells are not below a lower limit of 0.02


@dataclass(frozen=True, slots=True)
class NormalLimit:
    """What is normal of one class's share: from `low` to `high`, and `high` itself only where `high_is_normal`."""

    specimen: str
    kind: str
    class_name: str
    low: float
    high: float
    high_is_normal: bool
    source: str

    def is_abnormal(self, share: np.ndarray) -> np.ndarray:
        """(…,) bool for shares (…,). `high` itself is normal, except of a limit that begins `from` there."""
        too_high = share > self.high + _SLACK if self.high_is_normal else share >= self.high - _SLACK
        return (share < self.low - _SLACK) | too_high

    def words(self) -> str:
        """The limit in percent, for people."""
        high = f"{100 * self.high:g} %"
        if self.kind == "morphology":
            return f"{'above' if self.high_is_normal else 'from'} {high}"
        return f"outside {100 * self.low:g} to {high}"


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """Patients by both counts, and the agreement: of those abnormal (positive) or normal (negative) by the reference.

    chance   what two perfect readers of so many cells reach: mean and central 95 % of the draws, by the same keys
    """

    kind: str
    both: int
    reference_only: int
    test_only: int
    neither: int
    positive: Limits
    negative: Limits
    overall: Limits
    chance: dict[str, Limits]


def read_limits(path: str | Path | None = None) -> tuple[NormalLimit, ...]:
    """The limits of a TOML file (None: the package's own); InputError names the entry that does not fit."""
    where = Path(path) if path else files("leukoscope.evaluate") / "limits.toml"
    try:
        entries = tomllib.loads(where.read_text("utf-8")).get("limit", [])
    except OSError:
        raise InputError(f"no limits at {path}: expected a TOML file like docs/laboratory.md shows") from None
    except UNREADABLE as error:
        raise InputError(f"{path} is no TOML: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where} has no [[limit]]")
    return tuple(_limit(entry, f"{where}: limit {number}") for number, entry in enumerate(entries, 1))


def _limit(entry: dict, where: str) -> NormalLimit:
    unknown = sorted(set(entry) - KEYS)
    if unknown:
        raise InputError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(KEYS))}")
    kind, name, specimen = (entry.get(k) for k in ("kind", "class", "specimen"))
    if kind not in KINDS or name not in VOCABULARY or specimen not in ("blood", "marrow") or not entry.get("source"):
        raise InputError(
            f"{where}: needs specimen (blood, marrow), kind ({', '.join(KINDS)}), a known class and a source, got "
            f"{specimen!r}, {kind!r}, {name!r}, {entry.get('source')!r}"
        )
    asked = {"distribution": ({"low", "high"},), "morphology": ({"from"}, {"above"})}[kind]
    given = {k: entry[k] for k in ("low", "high", "from", "above") if k in entry}
    if set(given) not in asked or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in given.values()):
        words = "low and high" if kind == "distribution" else "from or above"
        raise InputError(f"{where}: {kind} needs {words} as shares between 0 and 1, got {given}")
    if kind == "morphology":
        ((key, value),) = given.items()
        return NormalLimit(specimen, kind, name, 0.0, float(value), key == "above", entry["source"])
    if given["low"] >= given["high"]:
        raise InputError(f"{where}: low must be below high, got {given['low']} and {given['high']}")
    return NormalLimit(specimen, kind, name, float(given["low"]), float(given["high"]), True, entry["source"])


def usable(limits: Sequence[NormalLimit], pair: Aligned) -> tuple[list[NormalLimit], list[str]]:
    """The limits of the specimen whose class both counts can say, and what is said of the others."""
    of_specimen = [x for x in limits if x.specimen == pair.specimen]
    kept = [x for x in of_specimen if _columns(x, pair)]
    left = [f"{x.kind} of {x.class_name}: not stated by both counts" for x in of_specimen if x not in kept]
    return kept, left


def _columns(limit: NormalLimit, pair: Aligned) -> list[int]:
    """Columns of the class and every finer one."""
    return [i for i, c in enumerate(pair.classes) if limit.class_name in ancestors(c)]


def is_abnormal(counts: np.ndarray, totals: np.ndarray, limits: Sequence[NormalLimit], pair: Aligned) -> np.ndarray:
    """(…, P) bool: any limit crossed, for counts (…, P, C) and denominators (…, P)."""
    abnormal = np.zeros(counts.shape[:-1], bool)
    for limit in limits:
        abnormal |= limit.is_abnormal(counts[..., _columns(limit, pair)].sum(-1) / totals)
    return abnormal


def two_by_two(
    pair: Aligned, limits: Sequence[NormalLimit], kind: str, *, n_draws: int = N_DRAWS, seed: int = 0
) -> TwoByTwo | None:
    """Agreement of both counts on one kind; None where no limit of that kind can be applied."""
    of_kind = [x for x in limits if x.kind == kind]
    if not of_kind:
        return None
    reference = is_abnormal(pair.reference, pair.n_reference, of_kind, pair)
    test = is_abnormal(pair.test, pair.n_test, of_kind, pair)
    both, first, second, neither = _table(reference, test)
    shares = {"positive": (both, both + first), "negative": (neither, neither + second),
              "overall": (both + neither, both + first + second + neither)}  # fmt: skip
    estimates = {k: Limits(a / n if n else np.nan, *clopper_pearson(a, n)) for k, (a, n) in shares.items()}
    return TwoByTwo(kind, both, first, second, neither, **estimates, chance=chance_agreement(
        pair, of_kind, n_draws=n_draws, seed=seed))  # fmt: skip


def _table(reference: np.ndarray, test: np.ndarray) -> tuple[int, int, int, int]:
    both, first, second = reference & test, reference & ~test, ~reference & test
    return int(both.sum()), int(first.sum()), int(second.sum()), int((~reference & ~test).sum())


def chance_agreement(
    pair: Aligned, limits: Sequence[NormalLimit], *, n_draws: int = N_DRAWS, seed: int = 0
) -> dict[str, Limits]:
    """The agreement of two perfect readers of these counts: mean, and 2.5 and 97.5 percentiles of `n_draws` draws.

    Each patient's true shares are taken to be those of both counts together; two readers who never err draw as many
    cells as were counted. Only chance makes them differ.
    """
    draws = draw_counts(pair, n_draws=n_draws, seed=seed)
    totals = (pair.n_reference, pair.n_test)
    first, second = (is_abnormal(d, n, limits, pair) for d, n in zip(draws, totals, strict=True))
    parts = {
        "positive": ((first & second).sum(1), first.sum(1)),
        "negative": ((~first & ~second).sum(1), (~first).sum(1)),
        "overall": ((first == second).sum(1), np.full(len(first), first.shape[1])),
    }
    rates = {}
    for name, (agreed, of) in parts.items():
        shares = (agreed[of > 0] / of[of > 0]).astype(np.float64)
        rates[name] = (
            Limits(float(shares.mean()), *map(float, np.quantile(shares, [0.025, 0.975])))
            if len(shares) else Limits(np.nan, np.nan, np.nan)
        )  # fmt: skip
    return rates


def draw_counts(pair: Aligned, *, n_draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two perfect readers' counts, each (n_draws, P, C), of as many cells of every patient as were counted."""
    from leukoscope.evaluate.counts import counted_classes

    rng = np.random.default_rng(seed)
    inside = np.isin(pair.classes, counted_classes(pair.classes, pair.specimen))
    drawn = [np.zeros((n_draws, *pair.reference.shape), np.int64) for _ in range(2)]
    for p in range(len(pair.patients)):
        together = pair.reference[p] + pair.test[p]
        n = pair.n_reference[p] + pair.n_test[p]
        # What stands in the denominator and in no compared class; beside the denominator (red precursors of blood)
        # cells come as so many per counted cell, by Poisson.
        rest = max(0, n - together[inside].sum())
        shares = np.append(together[inside], rest) / max(together[inside].sum() + rest, 1)
        for side, total in enumerate((pair.n_reference[p], pair.n_test[p])):
            drawn[side][:, p, inside] = rng.multinomial(total, shares, n_draws)[:, :-1]
            drawn[side][:, p, ~inside] = rng.poisson(together[~inside] / n * total, (n_draws, int((~inside).sum())))
    return drawn[0], drawn[1]

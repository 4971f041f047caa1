"""How often do healthy smears carry each flag, and how unsure is a model of cells that it knows?

    python -m benchmarks.ratios.flag_rates [--model blood] [--data FOLDER] [--films 1000] [--write] [--dry-run]

The classifier names the cells of normal blood of four laboratories (pbc's test split, which is like its training, and
bccd, jtsc, cellavision, which are not). A healthy film is then drawn from one laboratory's cells: 100, 200 or 500
leukocytes, with replacement, in the mix of healthy adult blood, and gets the flags that `analyze` would give it. The
rate of "other laboratories" is the mean of the three, its limits the lowest and the highest of them. A laboratory's
limits: its cells resampled, 40 times.

It also sets the reference of `unlike_cells`: 5 % of pbc's validation cells have a best probability below `below`; a
patient is flagged from LIMIT times as many on. Writes benchmarks/results/flag_rates.csv and, with --write, `clinical`
(likeness, flag_rates; what else is in it stays) into the card of a model folder.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace

import numpy as np

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public
from leukoscope.evaluate.coarse import TYPES, type_of
from leukoscope.evaluate.predict import predict_fields
from leukoscope.flags import Knowledge, flags
from leukoscope.models.bundle import find_model, read_card, write_card
from leukoscope.types import Differential, is_identified

# Healthy adults: middle of the usual reference ranges of the five types, by bccd's names.
HEALTHY = {"neutrophil": 0.60, "lymphocyte": 0.30, "monocyte": 0.06, "eosinophil": 0.03, "basophil": 0.01}
SETS = {"pbc": "test", "bccd": None, "jtsc": None, "cellavision": None}  # the split, None: every field
OTHERS = ("bccd", "jtsc", "cellavision")
OTHERS_NAME = "other laboratories: bccd, jtsc, cellavision"
SHARE, LIMIT = 0.05, 4  # of validation cells; ours: four times as many unsure cells as usual (decision 0062)
FILM_CELLS = (100, 200, 500)  # sizes of films that rates are stated for
RESAMPLES = 40
ABOUT_CELLS = ("no_cells", "few_cells", "failed_fields", "poor_fields")  # say nothing of disease


def cells_of(dataset, bundles: dict) -> tuple[np.ndarray, np.ndarray]:
    """probs (N, C) and one of the five types (N,) of the normal cells of a set."""
    predictions, failed = predict_fields({"classify": bundles["classify"]}, dataset)
    assert not failed, failed
    probs = np.concatenate([p.truth_probs for p in predictions])
    places = [type_of(n) for p in predictions for n in p.class_names]
    types = np.array(["" if place is None else TYPES[place] for place in places])
    known = np.isin(types, list(HEALTHY))
    return probs[known], types[known]


def draw_film(rng: np.random.Generator, types: np.ndarray, n_cells: int) -> np.ndarray:
    """(n,) rows of a healthy film; types that a laboratory has not are left out of the mix."""
    have = [t for t in HEALTHY if (types == t).any()]
    weights = np.array([HEALTHY[t] for t in have])
    rows = [rng.choice(np.flatnonzero(types == t), n) for t, n in zip(
        have, rng.multinomial(n_cells, weights / weights.sum()), strict=True)]  # fmt: skip
    return np.concatenate(rows)


def film_flags(probs: np.ndarray, taxonomy, knowledge: Knowledge) -> set[str]:
    """The codes that `analyze` would give a film of these cells."""
    known = is_identified(probs, knowledge.least_prob)
    counts = np.bincount(probs[known].argmax(1), minlength=len(taxonomy.names))
    film = Differential("film", "blood", counts, counts, 1, taxonomy, int((~known).sum()))
    unsure = 0 if knowledge.likeness is None else int((~is_identified(probs, knowledge.likeness.below)).sum())
    return {f["code"] for f in flags(film, min_cells=0, n_unsure=unsure, knowledge=knowledge)} - set(ABOUT_CELLS)


def rates(rng: np.random.Generator, cells: tuple, n_cells: int, n_films: int, taxonomy, knowledge) -> Counter:
    """Code -> share of healthy films that carry it."""
    probs, types = cells
    found = Counter()
    for _ in range(n_films):
        found.update(film_flags(probs[draw_film(rng, types, n_cells)], taxonomy, knowledge))
    return Counter({code: n / n_films for code, n in found.items()})


def laboratory_rows(name: str, cells: tuple, n_films: int, taxonomy, knowledge) -> list[dict]:
    """A row for each flag and size of film of one laboratory."""
    rng, rows = np.random.default_rng(len(name)), []
    for n_cells in FILM_CELLS:
        whole = rates(rng, cells, n_cells, n_films, taxonomy, knowledge)
        again = []
        for _ in range(RESAMPLES):
            chosen = rng.integers(0, len(cells[1]), len(cells[1]))
            part = (cells[0][chosen], cells[1][chosen])
            again.append(rates(rng, part, n_cells, max(20, n_films // 20), taxonomy, knowledge))
        for code in sorted(set(CODES) | set(whole)):
            low, high = np.quantile([one[code] for one in again], [0.025, 0.975])
            rows.append({"set": name, "measure": f"healthy films with {code}", "value": round(whole[code], 4),
                         "low": round(float(low), 4), "high": round(float(high), 4), "code": code, "n_cells": n_cells,
                         "n_films": n_films, "laboratory_cells": len(cells[1])})  # fmt: skip
    return rows


CODES = ("suspected_apl", "nucleated_red_cells", "review_blasts", "many_left_out", "unlike_cells")


def mean_rows(rows: list[dict]) -> list[dict]:
    """The mean of the other laboratories, and the lowest and the highest of them."""
    means = []
    for code in dict.fromkeys(r["code"] for r in rows):
        for n_cells in FILM_CELLS:
            some = [r for r in rows if r["set"] in OTHERS and (r["code"], r["n_cells"]) == (code, n_cells)]
            found = [r["value"] for r in some]
            values = {"value": round(float(np.mean(found)), 4), "low": min(found), "high": max(found)}
            means.append(some[0] | {"set": OTHERS_NAME} | values | {"n_films": sum(r["n_films"] for r in some),
                                    "laboratory_cells": sum(r["laboratory_cells"] for r in some)})  # fmt: skip
    return means


def reference(probs: np.ndarray) -> dict:
    """The card's `likeness`, from validation cells."""
    below = round(float(np.quantile(probs.max(1), SHARE)), 4)
    share = float((~is_identified(probs, below)).mean())
    return {"measure": "best probability", "below": below, "share": round(share, 4), "limit": round(LIMIT * share, 4),
            "n_cells": len(probs), "set": "pbc, validation"}  # fmt: skip


def main(args: Args) -> Rows:
    bundles = find_model(args.model)
    card = bundles["classify"].card
    with tempfile.TemporaryDirectory() as work:
        sets = {name: import_public(name, args.data, work) for name in SETS}
        likeness = reference(cells_of(sets["pbc"].subset("val"), bundles)[0])
        chosen = {n: s if SETS[n] is None else s.subset(SETS[n]) for n, s in sets.items()}
        cells = {name: cells_of(dataset, bundles) for name, dataset in chosen.items()}
    asked = replace(card, clinical=(card.clinical or {}) | {"likeness": likeness, "flag_rates": []})
    knowledge = Knowledge.of(asked)
    rows = [row for n, c in cells.items() for row in laboratory_rows(n, c, args.films, card.taxonomy, knowledge)]
    rows += mean_rows(rows)
    print(likeness)
    if args.write:
        path = bundles["classify"].path / "card.json"
        keys = {
            "code": "code",
            "n_cells": "n_cells",
            "value": "rate",
            "low": "low",
            "high": "high",
            "n_films": "n_films",
        }
        table = [{ours: row[k] for k, ours in keys.items()} | {"set": OTHERS_NAME} for row in rows
                 if row["set"] == OTHERS_NAME]  # fmt: skip
        fresh = read_card(path)
        write_card(replace(fresh, clinical=(fresh.clinical or {}) | {"likeness": likeness, "flag_rates": table}), path)
    facts = {"model": card.name, "onnx_sha256": card.onnx_sha256[:12]}
    yield from [row | facts for row in rows]


if __name__ == "__main__":
    benchmark(
        main, MODEL, DATA, option("--films", type=int, default=1000),
        option("--write", action="store_true", help="write what was found into the model's card"),
    )  # fmt: skip

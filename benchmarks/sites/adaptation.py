"""Accuracy on the rest of a new site when a tenth of its cells is labelled: every method on the same draws.

    python -m benchmarks.sites.adaptation --cache FOLDER [--data FOLDER] [--draws 10] [--tuned FOLDER] [--site SITE]

Source: pbc's train split and the bundled classifier that learnt from it (and ImageNet's network beside it); sites:
jtsc, cellavision, bccd. Two ways to draw the tenth (adaptation_sets.draw_tenth): stratified, and plain. What a method
may look at: labels of the tenth; pictures of all of the site's cells (transductive), except where said.
Chosen for a site: the features, width and head with the best mean accuracy on the *other two* sites (leave one site
out); never on the site itself. Limits: 95 %, draws and photographs resampled together. --tuned: folder of
adaptation_tuning.py. Writes adaptation.csv and adaptation_draws.csv (every draw, for figures).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.sites.adaptation_sets import SITES, draw_tenth, embedded, type_columns
from leukoscope.models.bundle import find_model
from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.features import reduce_together
from leukoscope.train.adapt.heads import METHODS, SiteProblem, nearest_mean_probs, with_one
from leukoscope.train.adapt.network import read_network
from leukoscope.train.adapt.site import choose_start, what_was_learnt
from leukoscope.train.adapt.site_head import fit_site_head, fit_site_layer, old_weights

ASKED = {"jtsc": 0.92, "cellavision": 0.93, "bccd": 0.88}
PLAIN_LP_FT = {"jtsc": 0.81, "cellavision": 0.86, "bccd": 0.77}  # as the task states it
FEATURES = {
    "classifier": ("classifier",),
    "imagenet": ("imagenet",),
    "both": ("classifier", "imagenet"),
}
WIDTHS = (32, 64)
KINDS = ("stratified", "plain")
SHARE = 0.1
WRITTEN = "as leukoscope adapt writes it"


def main(args: Args) -> Rows:
    cache = Path(args.cache)
    with tempfile.TemporaryDirectory() as work:
        sets = {name: embedded(name, args.data, cache, work) for name in (*SITES, "pbc")}
    if args.embed_only:
        return
    if args.site:
        for kind in args.kinds:
            part(sets, args.site, kind, args)
        return
    rows, draws = [], []
    for kind in args.kinds:
        right = {site: part(sets, site, kind, args) | tuned(sets, site, kind, args) for site in SITES}
        rows += report(right, kind)
        draws += [
            {"set": s, "draw": kind, "method": m, "seed": i, "accuracy": round(float(r.mean()), 4)}
            for s in SITES
            for m, per_draw in right[s].items()
            for i, r in enumerate(per_draw)
        ]
    context = {"draws": args.draws, "share": SHARE}
    yield from rows
    yield from (("adaptation_draws", row) for row in draws)
    return context


def part(sets: dict, site: str, kind: str, args: Args) -> dict[str, list[np.ndarray]]:
    """`all_methods` of one site, kept in the cache once finished."""
    path = Path(args.cache) / f"right-{site}-{kind}-{args.draws}.npz"
    if not path.is_file():
        trunks = FEATURES if kind == "stratified" else {"both": FEATURES["both"]}
        widths = WIDTHS if kind == "stratified" else WIDTHS[:1]
        right = all_methods(sets, site, masks_of(sets, site, kind, args), trunks=trunks, widths=widths)
        np.savez(path.with_suffix(".part.npz"), **{name: np.stack(r) for name, r in right.items()})
        path.with_suffix(".part.npz").rename(path)
    with np.load(path) as kept:
        return {name: list(kept[name]) for name in kept.files}


def masks_of(sets: dict, site: str, kind: str, args: Args) -> list[np.ndarray]:
    return [draw_tenth(sets[site]["labels"], SHARE, seed=s, stratified=kind == "stratified") for s in range(args.draws)]


def tuned(sets: dict, site: str, kind: str, args: Args) -> dict[str, list[np.ndarray]]:
    """LP+FT of `adaptation_tuning.py`, as far as it has come: stratified draws only."""
    if not args.tuned or kind != "stratified":
        return {}
    right = []
    for seed, mask in enumerate(masks_of(sets, site, kind, args)):
        path = Path(args.tuned) / f"{site}_{seed}.npz"
        if not path.is_file():
            break
        right.append((np.load(path)["probs"].argmax(1) == sets[site]["labels"])[~mask])
    return {"LP+FT": right} if right else {}


def all_methods(
    sets: dict, site: str, masks: list[np.ndarray], *, trunks: dict, widths: tuple[int, ...]
) -> dict[str, list[np.ndarray]]:
    """Of each method, one array a draw: whether each remaining cell is called right."""
    labels = sets[site]["labels"]
    right: dict[str, list[np.ndarray]] = {}
    for name, calls in source_only(sets, site).items():
        right[name] = [(calls == labels)[~m] for m in masks]
    right["last layer pulled to the old one (in a bundle)"] = [site_head(sets, site, m) for m in masks]
    right[WRITTEN] = [written(sets, site, m) for m in masks]
    for name, own in trunks.items():
        for align in (False, True):
            for width in widths if align else widths[:1]:
                source, cells = reduced(sets, site, own, width=width, align=align)
                label = f"{name} {width}{'' if align else ', source statistics'}"
                for method, head in METHODS.items() if align else {"nearest-mean": nearest_mean_probs}.items():
                    right[f"{method} | {label}"] = [
                        head(
                            SiteProblem(source, sets["pbc"]["labels"], cells[m], labels[m], cells[~m], 5)
                        ).argmax(1) == labels[~m]
                        for m in masks
                    ]  # fmt: skip
    return right


def source_only(sets: dict, site: str) -> dict[str, np.ndarray]:
    """Calls without any label of the site: as analysis makes them, and with the site's own feature statistics."""
    columns = type_columns(find_model("blood")["classify"].card.taxonomy)
    calls = {"zero-shot, stain-matched": (sets[site]["probs"] @ columns.T).argmax(1)}
    none = (np.zeros((0, 32)), np.zeros(0, np.int64))
    for align in (False, True):
        source, cells = reduced(sets, site, ("classifier",), width=32, align=align)
        name = f"zero-shot head, {'site' if align else 'source'} statistics"
        calls[name] = nearest_mean_probs(SiteProblem(source, sets["pbc"]["labels"], *none, cells, 5)).argmax(1)
    return calls


def reduced(sets: dict, site: str, trunks: tuple[str, ...], *, width: int, align: bool) -> tuple:
    """Source and site rows in common components."""
    keys = [f"{t}_{i}" for t in trunks for i in range(6)]
    return reduce_together(
        [sets["pbc"][k] for k in keys], [sets[site][k] for k in keys], n_components=width, align=align
    )


def site_head(sets: dict, site: str, mask: np.ndarray) -> np.ndarray:
    """Right or wrong on the rest, of a head that a bundle can hold; among the five types."""
    bundle = find_model("blood")["classify"]
    columns = type_columns(bundle.card.taxonomy)
    old, labels = _old(bundle), sets[site]["labels"]
    allowed = columns[labels[mask]]
    head = fit_site_head(sets[site]["last"][mask], allowed, old, groups=sets[site]["files"][mask])
    probs = softmax(with_one(sets[site]["last"][~mask]) @ head.weights)
    return (probs @ columns.T).argmax(1) == labels[~mask]


def written(sets: dict, site: str, mask: np.ndarray) -> np.ndarray:
    """Right or wrong on the rest, of the layer that `leukoscope adapt` writes: profile, class means and head."""
    bundle = find_model("blood")["classify"]
    columns = type_columns(bundle.card.taxonomy)
    heard, old, used = sets[site]["last"], _old(bundle), np.flatnonzero(mask)
    allowed, learnt = columns[sets[site]["labels"][mask]], what_was_learnt(sets[site]["last"], old, bundle)
    start = choose_start(heard, allowed, used, old, learnt)
    head = fit_site_layer(heard, allowed, start, used=used, groups=sets[site]["files"][mask], learnt=learnt)
    probs = softmax(with_one(heard[~mask]) @ head.weights)
    return (probs @ columns.T).argmax(1) == sets[site]["labels"][~mask]


_KEPT: dict[str, np.ndarray] = {}


def _old(bundle) -> np.ndarray:
    if "old" not in _KEPT:
        _KEPT["old"] = old_weights(read_network(bundle))
    return _KEPT["old"]


def report(right: dict[str, dict[str, list[np.ndarray]]], kind: str) -> list[dict]:
    """A row a site and method, and of each site the one chosen on the others, with its difference from zero-shot."""
    rows = []
    grid = [m for m in right[SITES[0]] if " | " in m and "source statistics" not in m]
    for site in SITES:
        for method, per_draw in right[site].items():
            rows.append(_row(site, kind, method, per_draw))
        others = [s for s in SITES if s != site]
        best = max(grid, key=lambda m: np.mean([np.mean([r.mean() for r in right[s][m]]) for s in others]))
        chosen = right[site][best]
        rows.append(_row(site, kind, "chosen on the other sites", chosen, asked=ASKED[site]) | {"chosen": best})
        for name in ("zero-shot, stain-matched", "LP+FT", "last layer pulled to the old one (in a bundle)"):
            if name in right[site]:
                pairs = [a.astype(float) - b for a, b in zip(chosen, right[site][name], strict=False)]
                rows.append(_row(site, kind, f"chosen less {name}", pairs))
    return rows


def _row(site: str, kind: str, method: str, per_draw: list[np.ndarray], *, asked: float | None = None) -> dict:
    means = np.array([r.mean() for r in per_draw])
    rng = np.random.default_rng(0)
    values = []
    for _ in range(1000):
        r = per_draw[rng.integers(len(per_draw))]
        values.append(r[rng.integers(len(r), size=len(r))].mean())
    low, high = np.quantile(values, [0.025, 0.975])
    return {
        "set": site,
        "measure": method,
        "draw": kind,
        "value": round(float(means.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "deviation": round(float(means.std(ddof=1)), 4) if len(means) > 1 else "",
        "threshold": f">= {asked}" if asked else "",
        "met": ("yes" if means.mean() >= asked else "no") if asked else "",
        "n_rest": len(per_draw[0]),
        "n_draws": len(per_draw),
        "plain_lp_ft_stated": PLAIN_LP_FT[site] if asked else "",
    }


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--cache", required=True, help="folder for features, made once"),
        option("--draws", type=int, default=10),
        option("--kinds", nargs="+", choices=KINDS, default=KINDS, help="ways to draw the tenth"),
        option("--tuned", help="folder of adaptation_tuning.py"),
        option("--site", choices=SITES, help="only this site's part, kept in the cache"),
        option("--embed-only", action="store_true", help="make the features and stop"),
    )  # fmt: skip

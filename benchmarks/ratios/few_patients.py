"""Do the limits of macro-F1 and of mAP hold what they say when there are few patients?

    python -m benchmarks.ratios.few_patients [--cohorts 2000]

Cohorts are made whose true number is known: patients differ in which cells they have (Dirichlet, `clumping` small: a
type is in few patients) and in how well their cells are called (logit of each type's sensitivity, deviation 0.6). True
is the number of 20,000 such patients together. Beside the limits in use: a percentile bootstrap over patients whose
classes are those drawn, as these limits were until now, and one with fixed classes. Writes results/few_patients.csv.
"""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.evaluate.patients import SHARE, limits_of_moves
from leukoscope.experiments.intervals import RankedMatches, estimate, mean_ap_of
from leukoscope.intervals import clopper_pearson

CLASSES = {"even": (0.3, 0.25, 0.2, 0.15, 0.1), "one type rare": (0.5, 0.25, 0.15, 0.07, 0.03)}
PATIENTS = (4, 6, 10, 20, 40)
N_CELLS, SPREAD, N_TRUE = 60, 0.6, 20_000
LEAST = 0.92


def main(args: Args) -> Rows:
    rng = np.random.default_rng(0)
    for n in PATIENTS:
        for words, shares in CLASSES.items():
            for sensitivity in (0.75, 0.93):
                for clumping in (3, 15):
                    found = macro_f1_coverage(
                        shares, n, cohorts=args.cohorts, rng=rng, sensitivity=sensitivity, clumping=clumping
                    )
                    setting = f"{words}, sensitivity {sensitivity}, clumping {clumping}"
                    yield _row("macro-F1", n, setting, found)
        found = mean_ap_coverage(n, cohorts=args.cohorts, rng=rng)
        yield _row("mAP", n, "three types, one in a third of the patients", found)
    return {"level": 0.95, "seed": 0}


def _row(measure: str, n: int, setting: str, found: dict) -> dict:
    share, cohorts = found.pop("coverage"), found.pop("cohorts")
    low, high = clopper_pearson(round(share * cohorts), cohorts)
    head = {"set": f"{n} patients, {setting}", "measure": f"coverage of the limits, {measure}"}
    numbers = {"value": share, "low": low, "high": high} | found
    return head | {k: round(v, 4) for k, v in numbers.items()} | {"threshold": f">= {LEAST}", "cohorts": cohorts}


def draw_matrices(
    shares: tuple[float, ...], n: int, rng: np.random.Generator, *, sensitivity: float, clumping: float
) -> np.ndarray:
    """(n, C, C) confusion matrices, one a patient."""
    k = len(shares)
    logit = np.log(sensitivity / (1 - sensitivity)) + rng.normal(0, SPREAD, (n, k))
    right = 1 / (1 + np.exp(-logit))
    called = np.where(np.eye(k, dtype=bool), right[:, :, None], ((1 - right) / (k - 1))[:, :, None])
    cells = rng.multinomial(N_CELLS, rng.dirichlet(clumping * np.array(shares), n))
    return rng.multinomial(cells, called)


def class_f1(matrices: np.ndarray) -> np.ndarray:
    """(R, C) F1 of matrices (R, C, C), 0 without a denominator."""
    right, total = np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-1) + matrices.sum(-2)
    return np.divide(2 * right, total, out=np.zeros(right.shape), where=total > 0)


def macro_f1_coverage(
    shares: tuple[float, ...], n: int, *, cohorts: int, rng: np.random.Generator, sensitivity: float = 0.75,
    clumping: float = 15,
) -> dict[str, float]:  # fmt: skip
    """How often the limits hold the true macro-F1, beside two bootstraps, and the limits' median width."""
    options = {"sensitivity": sensitivity, "clumping": clumping}
    true = class_f1(draw_matrices(shares, N_TRUE, rng, **options).sum(0)).mean()
    held, widths = [], []
    for _ in range(cohorts):
        matrices = draw_matrices(shares, n, rng, **options)
        whole = matrices.sum(0)
        present = whole.sum(1) > 0
        left = class_f1(whole - matrices)[:, present].mean(1)
        low, high = limits_of_moves(class_f1(whole)[present].mean(), left, within=SHARE)
        drawn = np.tensordot(rng.multinomial(n, np.full(n, 1 / n), 300), matrices, 1)
        scores, has = class_f1(drawn), drawn.sum(2) > 0
        loose = np.quantile((scores * has).sum(1) / has.sum(1), [0.025, 0.975])
        fixed = np.quantile(scores[:, present].mean(1), [0.025, 0.975])
        held.append([a <= true <= b for a, b in ((low, high), loose, fixed)])
        widths.append(high - low)
    names = ("coverage", "coverage of a bootstrap", "coverage of a bootstrap of fixed classes")
    return dict(zip(names, np.mean(held, 0).tolist(), strict=True)) | {
        "median width": float(np.median(widths)),
        "cohorts": cohorts,
    }


def mean_ap_coverage(n: int, *, cohorts: int, rng: np.random.Generator) -> dict[str, float]:
    """How often `estimate` of `mean_ap_of` holds the true mAP50 of three types."""
    true = mean_ap_of(draw_boxes(3000, rng))(np.arange(3000))
    held, widths = [], []
    for _ in range(cohorts):
        found = estimate(mean_ap_of(draw_boxes(n, rng)), np.arange(n), unit="patient")
        held.append(found.low <= true <= found.high)
        widths.append(found.high - found.low)
    return {"coverage": float(np.mean(held)), "median width": float(np.median(widths)), "cohorts": cohorts}


def draw_boxes(n: int, rng: np.random.Generator) -> list[RankedMatches]:
    """Boxes of three types on one photograph a patient; the third type is on a third of them."""
    ranked = []
    for share, many in ((1.0, 15), (1.0, 6), (1 / 3, 6)):
        n_truth = rng.poisson(many, n) * (rng.random(n) < share)
        n_truth[0] = max(n_truth[0], 1)  # at least one patient has it
        found = rng.binomial(n_truth, 1 / (1 + np.exp(-(2 + rng.normal(0, SPREAD, n)))))
        false = rng.poisson(2 * rng.gamma(2, 0.5, n))
        shift = rng.normal(0, 0.3, n)
        field = np.r_[np.repeat(np.arange(n), found), np.repeat(np.arange(n), false)]
        hit = np.r_[np.ones(found.sum(), bool), np.zeros(false.sum(), bool)]
        order = np.argsort(-(rng.normal(0, 1, len(field)) + 1.5 * hit + shift[field]), kind="stable")
        ranked.append(RankedMatches(hit[order][None], field[order], n_truth))
    return ranked


if __name__ == "__main__":
    benchmark(main, option("--cohorts", type=int, default=2000, help="cohorts a setting (default 2000)"))

"""DeLong, Passing-Bablok, Bland-Altman and Lin against their definitions written out, scikit-learn, scipy and print."""

import itertools
import math

import numpy as np
import pytest
from data.later import Later
from scipy import stats

from leukoscope.errors import DataError
from leukoscope.evaluate.agreement import bland_altman, lin_ccc, passing_bablok, pearson, spearman
from leukoscope.evaluate.classes import roc_auc
from leukoscope.evaluate.roc import at_threshold, auroc_delong, choose_threshold, compare_delong
from leukoscope.intervals import clopper_pearson, excludes, student_t

metrics = Later("sklearn.metrics")

# Twenty pairs whose Passing-Bablok line R's mcr gives as 1.0050 and 0.0125 (published with the package methcomp).
REFERENCE = np.arange(1, 21)
TEST = np.array([1.03, 2.05, 2.79, 3.67, 5.00, 5.82, 7.16, 7.69, 8.53, 10.38,
                 11.11, 12.17, 13.47, 13.83, 15.15, 16.12, 16.94, 18.09, 19.13, 19.54])  # fmt: skip


def draw(seed, n=40, ties=False):
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < n // 3
    scores = rng.normal(size=n) + positive
    return positive, np.round(scores, 0 if ties else 6), np.round(scores + rng.normal(size=n), 0 if ties else 6)


def placements(positive, scores):
    """DeLong's V10 and V01, by comparing every pair."""
    above = [[(p > n) + (p == n) / 2 for n in scores[~positive]] for p in scores[positive]]
    return np.mean(above, 1), np.mean(above, 0)


def naive_delong(positive, a, b):
    (a10, a01), (b10, b01) = placements(positive, a), placements(positive, b)
    covariance = np.cov(np.stack([a10, b10])) / len(a10) + np.cov(np.stack([a01, b01])) / len(a01)
    return a10.mean(), covariance


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_delong_is_its_definition_and_the_area_scikit_learns(seed, ties):
    positive, a, b = draw(seed, ties=ties)
    area, covariance = naive_delong(positive, a, b)
    ours = auroc_delong(positive, a)
    assert (
        ours.value
        == pytest.approx(area)
        == pytest.approx(metrics.roc_auc_score(positive, a))
        == pytest.approx(roc_auc(positive, a))
    )
    half = stats.norm.ppf(0.975) * math.sqrt(covariance[0, 0])
    assert (ours.low, ours.high) == pytest.approx((max(0, area - half), min(1, area + half)))
    difference = compare_delong(positive, a, b)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert difference.difference == pytest.approx(area - metrics.roc_auc_score(positive, b))
    assert difference.p == pytest.approx(2 * stats.norm.sf(abs(difference.difference) / error))
    assert difference.high - difference.low == pytest.approx(2 * stats.norm.ppf(0.975) * error)


def test_a_perfect_separation_is_not_certainty():
    few, many = (auroc_delong([True] * n + [False] * n, [1.0] * n + [0.0] * n) for n in (5, 50))
    assert few.value == many.value == few.high == 1 and 0.5 < few.low < 0.8 < 0.9 < many.low < 1
    turned = auroc_delong([False] * 5 + [True] * 5, [1.0] * 5 + [0.0] * 5)
    assert turned.value == turned.low == 0 and turned.high == pytest.approx(1 - few.low)


def test_one_kind_of_patient_has_no_area():
    assert math.isnan(auroc_delong([True, True], [1, 2]).value)
    assert math.isnan(compare_delong([True, True], [1, 2], [1, 2]).p)
    with pytest.raises(DataError, match="finite"):
        auroc_delong([True, False], [1, math.nan])
    with pytest.raises(DataError, match="truth"):
        auroc_delong([True], [1, 2])
    same = compare_delong([True, False, True], [3, 1, 2], [30, 10, 20])
    assert (same.difference, same.p) == (0, 1)


def test_a_threshold_of_the_development_patients_is_applied_to_others():
    positive, scores, _ = draw(5, n=200)
    threshold = choose_threshold(positive, scores)
    false_rate, true_rate, _ = metrics.roc_curve(positive, scores)
    point = at_threshold(positive, scores, threshold)
    assert point.sensitivity.value + point.specificity.value - 1 == pytest.approx((true_rate - false_rate).max())
    assert (point.sensitivity.low, point.sensitivity.high) == clopper_pearson(point.true_positive, positive.sum())
    assert point.true_positive + point.false_negative == positive.sum()
    assert point.accuracy.value == np.mean((scores >= threshold) == positive)
    keep = choose_threshold(positive, scores, sensitivity=0.95)
    assert at_threshold(positive, scores, keep).sensitivity.value >= 0.95
    assert at_threshold(positive, scores, np.nextafter(scores[scores > keep].min(), 9)).sensitivity.value < 0.95
    assert choose_threshold([True, True, False], [0.9, 0.6, 0.2]) == pytest.approx(0.4)  # half way
    alone = at_threshold([True], [0.3], 0.5)
    assert alone.sensitivity.value == 0 and math.isnan(alone.specificity.value)
    for call in (lambda: choose_threshold([True], [1]), lambda: choose_threshold([True, False], [1, 2], sensitivity=2)):
        with pytest.raises(DataError):
            call()


def naive_passing_bablok(x, y, level=0.95):
    """The paper's steps over every pair, one at a time."""
    slopes = []
    for i, j in itertools.combinations(range(len(x)), 2):
        run, rise = x[j] - x[i], y[j] - y[i]
        if run == 0 and rise == 0:
            continue
        slope = math.copysign(math.inf, rise) if run == 0 else rise / run
        if slope != -1:
            slopes.append(slope)
    slopes.sort()
    k, many = sum(s < -1 for s in slopes), len(slopes)
    half = many // 2
    slope = slopes[half + k] if many % 2 else (slopes[half - 1 + k] + slopes[half + k]) / 2
    n = len(x)
    reach = stats.norm.ppf((1 + level) / 2) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    m1 = round((many - reach) / 2)
    low, high = slopes[m1 + k - 1], slopes[many - m1 + 1 + k - 1]
    return [slope, low, high], [float(np.median(y - b * x)) for b in (slope, high, low)]


@pytest.mark.parametrize("seed", range(4))
def test_passing_bablok_is_its_definition_ties_included(seed):
    rng = np.random.default_rng(seed)
    x = np.round(rng.uniform(0, 60, 15 + seed), 0 if seed % 2 else 3)
    y = np.round(1.1 * x + rng.normal(0, 6, len(x)), 0 if seed % 2 else 3)
    line = passing_bablok(x, y)
    slope, intercept = naive_passing_bablok(x, y)
    assert (line.slope.value, line.slope.low, line.slope.high) == pytest.approx(slope)
    assert (line.intercept.value, line.intercept.low, line.intercept.high) == pytest.approx(intercept)


def test_passing_bablok_of_printed_numbers():
    line = passing_bablok(REFERENCE, TEST)
    assert (line.slope.value, line.intercept.value) == pytest.approx((1.0050, 0.0125), abs=1e-4)
    assert (line.slope.low, line.slope.high) == pytest.approx((0.9848, 1.0266), abs=2e-3)  # mcr interpolates the ranks
    assert (line.intercept.low, line.intercept.high) == pytest.approx((-0.2975, 0.1393), abs=0.02)


def test_passing_bablok_swaps_with_its_axes_and_refuses_what_has_no_line():
    there, back = passing_bablok(REFERENCE, TEST), passing_bablok(TEST, REFERENCE)
    assert there.slope.value == pytest.approx(1 / back.slope.value, rel=1e-3)
    assert math.isnan(passing_bablok([1, 1, 1], [2, 2, 2]).slope.value)
    steep = passing_bablok([1.0, 1.0, 1.0, 1.0], [1, 2, 3, 4])
    assert steep.slope.value == math.inf and math.isnan(steep.intercept.value)


def test_correlations_equal_scipy():
    x, y = REFERENCE[:12], np.round(TEST[:12] + np.sin(7 * REFERENCE[:12]), 0)
    ours, theirs = pearson(x, y), stats.pearsonr(x, y)
    interval = theirs.confidence_interval()
    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.statistic, interval.low, interval.high))
    rank = spearman(x, y)
    assert rank.value == pytest.approx(stats.spearmanr(x, y).statistic)
    error = math.sqrt((1 + rank.value**2 / 2) / 9)
    assert math.atanh(rank.high) - math.atanh(rank.value) == pytest.approx(stats.norm.ppf(0.975) * error)
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]).value) and math.isnan(pearson([1, 2, 3], [1, 2, 4]).low)
    assert spearman(x, x**3).value == 1


def test_bland_altman_of_print():
    """Seventeen pairs of peak flow by two meters (Bland and Altman, Lancet 1986, table 1): bias -2.1, s 38.8."""
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = bland_altman(mini, wright)
    assert (round(found.bias.value, 1), round(found.deviation, 1)) == (-2.1, 38.8)
    assert (round(found.lower.value, 0), round(found.upper.value, 0)) == (-78, 74)
    assert (round(found.bias.low, 1), round(found.bias.high, 1)) == (-22.0, 17.8)  # the paper, with t = 2.12
    assert found.upper.high - found.upper.value == pytest.approx(
        stats.t.ppf(0.975, 16) * 38.8 * math.sqrt(1 / 17 + 1.96**2 / 32), rel=2e-3
    )
    with pytest.raises(DataError, match="two patients"):
        bland_altman([1], [2])


def test_lins_concordance_is_its_definition():
    x, y = REFERENCE.astype(float), 1.3 * TEST + 2 * np.sin(9 * REFERENCE)
    ccc = lin_ccc(x, y)
    r = np.corrcoef(x, y)[0, 1]
    assert ccc.value == pytest.approx(
        2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    )
    u = (x.mean() - y.mean()) / math.sqrt(x.std() * y.std())
    c = ccc.value
    variance = ((1 - r**2) * c**2 * (1 - c**2) / r**2 + 2 * c**3 * (1 - c) * u**2 / r - c**4 * u**4 / (2 * r**2)) / (
        (len(x) - 2) * (1 - c**2) ** 2
    )
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert (ccc.low, ccc.high) == pytest.approx((math.tanh(math.atanh(c) - half), math.tanh(math.atanh(c) + half)))
    assert lin_ccc(x, x).value == 1 and lin_ccc(x, -x + 2 * x.mean()).value == -1
    assert lin_ccc(x, x + 5).value < pearson(x, x + 5).value == 1
    assert math.isnan(lin_ccc([1, 1, 1], [1, 2, 3]).value)


@pytest.mark.parametrize("measure", [pearson, spearman, bland_altman, passing_bablok, lin_ccc])
def test_agreement_refuses_what_does_not_fit(measure):
    with pytest.raises(DataError, match="two measurements"):
        measure([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="finite"):
        measure([1, 2], [1, math.nan])
    with pytest.raises(DataError, match="level"):
        measure([1, 2, 3, 4], [1, 2, 4, 4], level=1)


@pytest.mark.parametrize("freedom", [1, 4, 29, 400])
def test_student_quantiles_equal_scipy(freedom):
    for share in (0.001, 0.2, 0.5, 0.9, 0.975):
        assert student_t(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), abs=1e-9, rel=1e-9)


def test_excludes_is_what_the_exact_limits_say():
    for k, n in ((0, 10), (3, 10), (20, 100), (27, 100), (100, 100)):
        low, high = clopper_pearson(k, n)
        for share in (0.01, 0.05, 0.2, 0.29, 0.3, 0.5, 0.99):
            assert excludes(k, n, share) is not (low <= share <= high), (k, n, share)

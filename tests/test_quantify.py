"""The corrected ratio: what it corrects, when it refuses, how many cells are still needed, and serial smears."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest

from leukoscope.errors import DataError, InputError, ModelError, TaxonomyError
from leukoscope.intervals import clopper_pearson
from leukoscope.quantify import (
    Smear,
    confusion_from_labels,
    confusion_of,
    correct_patient,
    correct_ratio,
    further_cells,
    further_cells_corrected,
    no_scatter,
    trend,
    weigh,
)
from leukoscope.quantify.trend import Overdispersion, overdispersion, rising_p
from leukoscope.taxonomy import BLOOD_12, MARROW_16
from leukoscope.types import Differential

CONFUSION = np.array([[180, 20], [40, 760]])  # sensitivity 0.90, false alarms 0.05


def test_false_alarms_and_misses_are_taken_out():
    called = correct_ratio([230, 770], CONFUSION, subset=[0])
    assert called.raw == 0.23 and called.reason is None
    assert called.value == pytest.approx((0.23 - 0.05) / 0.85, abs=0.01)
    assert called.low < 0.21 < called.high
    low, high = clopper_pearson(230, 1000)
    assert called.high - called.low > high - low  # it knows less than the binomial claims
    assert (called.sensitivity.n_called, called.sensitivity.n_cells) == (180, 200)
    assert called.sensitivity.low < 0.9 < called.sensitivity.high
    assert (called.false_alarm.n_called, called.false_alarm.n_cells) == (40, 800)


def test_the_two_methods_agree():
    same = {"subset": [0], "scatter": no_scatter()}  # the Bayesian one knows no scatter between patients
    adjusted, bayesian = (correct_ratio([60, 240], CONFUSION, method=m, **same) for m in ("adjusted", "bayesian"))
    assert adjusted.method != bayesian.method
    for name in ("value", "low", "high"):
        assert getattr(adjusted, name) == pytest.approx(getattr(bayesian, name), abs=0.015)


def test_a_useless_classifier_says_so_and_claims_nothing():
    for confusion in ([[50, 50], [50, 50]], [[10, 90], [30, 70]], [[2, 1], [3, 5]]):
        corrected = correct_ratio([30, 70], confusion, subset=[0])
        assert corrected.reason == "classifier_cannot_tell" and math.isnan(corrected.value)
        assert corrected.low < 0.05 and corrected.high > 0.8


def test_no_blast_called_is_not_no_blast():
    none = correct_ratio([0, 200], [[180, 20], [0, 800]], subset=[0])
    assert none.low == none.value == 0 and 0.005 < none.high < 0.03
    assert none.high > correct_ratio([0, 2000], [[180, 20], [0, 800]], subset=[0]).high


def test_fewer_calls_than_false_alarms_are_a_misfit_but_not_certainty():
    few = correct_ratio([0, 500], CONFUSION, subset=[0])
    assert few.reason == "calls_do_not_fit" and few.low == few.value == 0 and few.high > 0.004
    many = correct_ratio([500, 10], [[60, 140], [5, 95]], subset=[0])
    assert many.reason == "calls_do_not_fit" and many.high == many.value == 1 and many.low < 1


@pytest.mark.parametrize(
    ("counts", "confusion", "reason"),
    [
        ([0, 0], CONFUSION, "no_cells"),
        ([3, 97], [[0, 0], [40, 760]], "numerator_not_validated"),
        ([3, 97], [[180, 20], [0, 0]], "others_not_validated"),
    ],
)
def test_what_is_not_known_is_not_corrected(counts, confusion, reason):
    corrected = correct_ratio(counts, confusion, subset=[0])
    assert corrected.reason == reason and math.isnan(corrected.value)
    assert (corrected.low, corrected.high) == (0, 1)


def test_few_cells_and_few_validated_cells_widen_the_interval():
    width = {n: (r := correct_ratio([n // 5, n - n // 5], CONFUSION, subset=[0])).high - r.low for n in (10, 100, 1000)}
    assert width[10] > width[100] > width[1000]
    scant = correct_ratio([200, 800], CONFUSION // 10, subset=[0])
    assert scant.high - scant.low > width[1000]


def test_artefacts_leave_the_denominator_and_what_they_add_is_taken_out():
    # a tenth of the artefacts is called a blast; the patient has as many artefacts as other cells, and no blast
    confusion = np.array([[950, 50, 0], [0, 1000, 0], [100, 0, 900]])
    patient = [50, 500, 450]
    corrected = correct_ratio(patient, confusion, subset=[0], counted=[0, 1])
    assert corrected.denominator == 550 and corrected.raw == pytest.approx(50 / 550)
    assert corrected.low == 0 and corrected.value < 0.01
    # blasts that are lost to the artefacts come back
    lossy = np.array([[800, 0, 200], [0, 1000, 0], [0, 0, 1000]])
    assert correct_ratio([160, 800, 40], lossy, subset=[0], counted=[0, 1]).value == pytest.approx(0.2, abs=0.005)


def test_error_rates_follow_the_patients_own_mix():
    # monocytes are called blasts, neutrophils never; validation had as many of each
    confusion = np.array([[90, 5, 5], [20, 80, 0], [0, 0, 100]])
    blood = correct_ratio([2, 8, 190], confusion, subset=[0])
    monocytes = correct_ratio([40, 152, 8], confusion, subset=[0])
    assert blood.false_alarm.value < 0.03 and monocytes.false_alarm.value > 0.15
    assert monocytes.low == 0 and monocytes.value < 0.03  # raw: 20 %
    assert blood.false_alarm.n_called == monocytes.false_alarm.n_called == 20


def test_classes_without_validation_cells_are_told():
    confusion = np.array([[90, 10, 0], [5, 95, 0], [0, 0, 0]])
    assert correct_ratio([10, 45, 45], confusion, subset=[0]).unseen == pytest.approx(0.45, abs=0.05)
    assert correct_ratio([10, 90, 0], confusion, subset=[0]).unseen < 0.01


def test_a_centres_own_cells_move_the_rates_where_they_disagree():
    alone = correct_ratio([100, 400], CONFUSION, subset=[0])
    agreeing = correct_ratio([100, 400], CONFUSION, subset=[0], local=CONFUSION // 4)
    only = correct_ratio([100, 400], CONFUSION // 4, subset=[0])
    assert alone.high - alone.low < agreeing.high - agreeing.low < only.high - only.low
    other = np.array([[50, 50], [2, 98]])  # the same stain finds half of the blasts
    moved = correct_ratio([100, 400], CONFUSION, subset=[0], local=other)
    assert 0.45 < moved.sensitivity.value < 0.7 and moved.value > alone.high
    only = correct_ratio([100, 400], np.zeros((2, 2), int), subset=[0], local=other)
    assert only.reason is None and only.sensitivity.n_cells == 100


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="2 counts need a confusion table"):
        correct_ratio([1, 2], np.eye(3, dtype=int), subset=[0])
    with pytest.raises(DataError, match="local"):
        correct_ratio([1, 2], CONFUSION, subset=[0], local=np.eye(3, dtype=int))
    with pytest.raises(DataError, match="whole numbers"):
        correct_ratio([1, -2], CONFUSION, subset=[0])
    with pytest.raises(DataError, match="whole numbers"):
        correct_ratio([1, 2], CONFUSION / 100, subset=[0])
    for subset, counted in (([], None), ([0], [1]), ([0, 1], None), ([2], None), ([-1], None)):
        with pytest.raises(DataError, match="numerator"):
            correct_ratio([1, 2], CONFUSION, subset=subset, counted=counted)
    with pytest.raises(DataError, match="method"):
        correct_ratio([1, 2], CONFUSION, subset=[0], method="magic")


def test_a_cards_confusion_is_read_by_name():
    card = {"names": ["lymphoblast", "monocyte"], "counts": [[9, 1], [2, 8]]}
    table = confusion_of(card, BLOOD_12)
    i, j = BLOOD_12.index("lymphoblast"), BLOOD_12.index("monocyte")
    assert table.sum() == 20 and table[i, j] == 1 and table[j, i] == 2
    assert confusion_of(None, BLOOD_12) is None
    for wrong in (
        {"names": ["monocyte"]},
        {"names": ["monocyte"], "counts": [[1, 2]]},
        {"names": ["monocyte"], "counts": [[0.5]]},
    ):
        with pytest.raises(ModelError, match="confusion matrix"):
            confusion_of(wrong, BLOOD_12)
    with pytest.raises(TaxonomyError, match="sergeant"):
        confusion_of({"names": ["sergeant"], "counts": [[1]]}, BLOOD_12)


def test_a_patients_composite_is_corrected_by_name():
    names = MARROW_16.names
    truth, called = (
        [*MARROW_16.composites["cblc"] * 30, *["neutrophil"] * 300],
        [*MARROW_16.composites["cblc"] * 30, *["neutrophil"] * 290, *["myeloblast"] * 10],
    )
    confusion = confusion_from_labels(truth, called, MARROW_16)
    counts = [30 if name in MARROW_16.composites["cblc"] else 100 if name == "neutrophil" else 0 for name in names]
    cblc = correct_patient(Differential("p", "marrow", counts, counts, 1, MARROW_16), confusion, "cblc")
    assert cblc.numerator == 240 and cblc.denominator == 340 and 0.6 < cblc.low < cblc.value < cblc.raw
    with pytest.raises(DataError, match="a truth and a call"):
        confusion_from_labels(["monocyte"], [], MARROW_16)


# Further cells


def test_further_cells_are_as_many_as_the_exact_interval_needs():
    needed = further_cells(15, 100, 0.20)
    n = 100 + needed
    assert clopper_pearson(round(0.15 * n), n)[1] <= 0.2005
    assert clopper_pearson(round(0.15 * (n - 40)), n - 40)[1] > 0.198
    assert further_cells(3, 100, 0.20) == 0 and further_cells(60, 100, 0.20) == 0
    assert further_cells(20, 100, 0.20) is None and further_cells(0, 0, 0.20) is None


def test_further_cells_round_up_and_zero_blasts_can_be_settled():
    assert further_cells(0, 10, 0.05) == 62  # 0 of 72 has an upper limit of 4.99 %


def test_no_number_of_cells_makes_up_for_an_unknown_classifier():
    near = weigh([23, 77], CONFUSION, subset=[0])
    assert further_cells_corrected(near, 0.20) is None
    sure = weigh([23, 77], 100 * CONFUSION, subset=[0], scatter=no_scatter())
    assert further_cells_corrected(weigh([23, 77], 100 * CONFUSION, subset=[0]), 0.20) is None  # patients differ
    assert further_cells_corrected(sure, 0.20) > 1000
    assert further_cells_corrected(sure, 0.02) == 0
    assert further_cells_corrected(weigh([0, 0], CONFUSION, subset=[0]), 0.2) is None


# Serial smears


def smears(*counts, days=None):
    days = days or [date(2026, month + 1, 1) for month in range(len(counts))]
    return [Smear(f"s{k}", np.array(c), day) for k, (c, day) in enumerate(zip(counts, days, strict=True))]


def test_serial_smears_show_a_fall_and_no_change():
    course = trend(smears([120, 280], [60, 340], [40, 360]), CONFUSION, subset=[0])
    assert course.smear_ids == ("s0", "s1", "s2") and course.rising_p < 0.001
    assert course.whole.high < 0 and course.whole.p < 0.01 and course.steps[0].high < 0
    assert course.overdispersion == Overdispersion()  # nothing tells how smears differ: the default
    assert course.whole.difference == pytest.approx(course.ratios[2].value - course.ratios[0].value, abs=0.02)
    same = trend(smears([60, 340], [63, 337], [58, 342]), CONFUSION, subset=[0])
    assert same.whole.low < 0 < same.whole.high and same.rising_p > 0.3 and same.whole.p > 0.3


def test_shared_errors_cancel_in_a_change():
    vague = np.array([[18, 2], [4, 76]])
    course = trend(smears([680, 1320], [380, 1620]), vague, subset=[0])
    a, b = course.ratios
    assert a.low < b.high  # each alone is so vague that they overlap
    assert course.whole.high < 0 and course.whole.p < 0.05


def test_smears_are_put_in_order_of_their_days():
    late, early = smears([10, 90], [50, 50], days=[date(2026, 5, 1), date(2026, 1, 1)])
    assert trend([late, early], CONFUSION, subset=[0]).smear_ids == ("s1", "s0")
    undated = [Smear("b", late.counts), Smear("a", early.counts, date(2026, 1, 1))]
    assert trend(undated, CONFUSION, subset=[0]).smear_ids == ("b", "a")


def test_a_trend_of_one_or_of_empty_smears():
    one = trend(smears([5, 95]), CONFUSION, subset=[0])
    assert one.whole is None and one.steps == () and math.isnan(one.rising_p)
    empty = trend(smears([5, 95], [0, 0]), CONFUSION, subset=[0])
    assert math.isnan(empty.whole.p) and (empty.whole.low, empty.whole.high) == (-1, 1)
    blind = trend(smears([5, 95], [50, 50]), np.array([[0, 0], [5, 95]]), subset=[0])
    assert math.isnan(blind.whole.p)
    with pytest.raises(InputError, match="different ids"):
        trend([], CONFUSION, subset=[0])
    with pytest.raises(InputError, match="different ids"):
        trend([Smear("a", np.array([1, 2]))] * 2, CONFUSION, subset=[0])


def test_cochran_armitage_of_a_table_worked_by_hand():
    # shares 2/10, 5/10, 8/10 at 0, 1, 2: z = 6 / sqrt(0.25 * 20) = 2.683, p = 0.0073
    assert rising_p([2, 5, 8], [10, 10, 10], [0, 1, 2]) == pytest.approx(0.00729, abs=1e-5)
    assert math.isnan(rising_p([0, 0, 0], [10, 10, 10], [0, 1, 2])) and math.isnan(rising_p([1, 2], [5, 5], [0, 1]))


def test_smears_of_one_day_show_how_much_smears_differ():
    day = date(2026, 3, 1)
    alike = [Smear(f"s{k}", np.array([50, 450]), day) for k in range(6)]
    apart = [Smear(f"s{k}", np.array([c, 500 - c]), day) for k, c in enumerate((20, 90, 35, 75, 25, 80))]
    groups = np.array([0, 1])
    calm, wild = overdispersion(alike, groups), overdispersion(apart, groups)
    assert calm.n_repeats == wild.n_repeats == 5 and calm.correlation == 0.005  # half the default's
    # 325 of 3,000: chi-square 4771 / (500 * 0.108 * 0.892) = 98.8 over 5 is 19.8 = 1 + correlation * 499
    assert wild.correlation == pytest.approx((0.0376 + 0.01) / 2, rel=0.01)
    assert overdispersion(smears([1, 9], [2, 8]), groups) == Overdispersion()


def test_photographs_show_how_clumped_cells_lie():
    fields = np.array([[20, 0], [0, 20], [20, 0], [0, 20]])
    clumped = Smear("a", fields.sum(0), date(2026, 1, 1), fields)
    even = Smear("b", np.array([40, 40]), date(2026, 2, 1), np.full((4, 2), 10))
    # the worst clumps: each photograph is all or nothing, chi-square 80 over 3; beside even ones 80 over 6
    assert overdispersion([clumped], np.array([0, 1])).clumping == pytest.approx(80 / 3)
    assert overdispersion([clumped, even], np.array([0, 1])).clumping == pytest.approx(80 / 6)


def test_smears_whose_cells_are_correlated_seldom_seem_to_change():
    """Two smears of 500 cells, correlation 0.01 within a smear, the same patient: false steps."""
    rng, table = np.random.default_rng(0), 1000 * CONFUSION
    steps, rises = [], []
    for _ in range(300):
        shares = rng.beta(0.2 * 99, 0.8 * 99, 4)  # correlation 1 / (1 + 99)
        counts = [[k := int(rng.binomial(500, s * 0.9 + (1 - s) * 0.05)), 500 - k] for s in shares]
        course = trend(smears(*counts), table, subset=[0], scatter=no_scatter())
        steps.append(course.steps[0].p < 0.05)
        rises.append(course.rising_p < 0.05)
    assert np.mean(steps) < 0.09 and np.mean(rises) < 0.09

"""Counts against people's counts: every measure by R or by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from data.make_record import make_run
from data.readers_counts import HEADS, ROWS, table, write
from scipy import stats

from leukoscope.cli import main
from leukoscope.errors import InputError
from leukoscope.evaluate.abnormal import chance_agreement, read_limits, two_by_two, usable
from leukoscope.evaluate.agreement import deming
from leukoscope.evaluate.counts import CountTable, align
from leukoscope.evaluate.counts_file import read_counts
from leukoscope.evaluate.imprecision import imprecision
from leukoscope.evaluate.two_counts import agree_by_chance, assertable, missed_share, second_count_limits
from leukoscope.intervals import clopper_pearson

X = [7, 8.3, 10.5, 9, 5.1, 8.2, 10.2, 10.3, 7.1, 5.9, 14.2, 3.3]


Y = [7.9, 8.2, 9.6, 9, 6.5, 7.3, 10.2, 10.6, 6.3, 5.2, 15.1, 2.9]


with open(Path(__file__).parent / "data" / "agreement_r.csv", encoding="utf-8") as file:
    R = list(csv.DictReader(file))  # of data/agreement.R


FINE = ("band_neutrophil", "segmented_neutrophil", "myeloblast", "lymphocyte", "smudge_cell")


OF_BLASTS = 'specimen = "blood"\nclass = "blast"'


def of_r(*names):
    return [row for row in R if row["what"].startswith(names)]


@pytest.mark.parametrize("row", of_r("deming", "principal"), ids=lambda r: f"{r['what']} {r['a']}")
def test_deming_is_rs(row):
    line = deming(X, Y, variance_ratio=float(row["a"]))
    part = line.intercept if "intercept" in row["what"] else line.slope
    which = row["what"].split()[-1]
    value = getattr(part, which if which in ("low", "high") else "value")
    assert value == pytest.approx(float(row["value"]), abs=2e-6)


def test_deming_swaps_with_its_axes_and_says_nothing_of_three_patients():
    there, back = deming(X, Y, variance_ratio=2), deming(Y, X, variance_ratio=0.5)
    assert there.slope.value == pytest.approx(1 / back.slope.value)
    few = deming([1, 2, 3], [1, 2, 4])
    assert math.isfinite(few.slope.value) and math.isnan(few.slope.low)
    assert math.isnan(deming([1, 1, 1, 1], [1, 2, 3, 4]).slope.value)


@pytest.mark.parametrize("row", of_r("second count"), ids=lambda r: f"{r['what'][13:]} {r['a']} of {r['b']}, {r['c']}")
def test_two_counts_limits_are_rs(row):
    least, most = second_count_limits(*(int(row[k]) for k in "abc"))
    assert (least if row["what"].endswith("least") else most) == int(row["value"])


def test_two_counts_by_hand():
    """0 and 6 of 100: all six in the second count, 100!/94! over 200!/194!: 0.0141, below 0.025. 0 and 5: 0.0284."""
    six = math.prod((100 - i) / (200 - i) for i in range(6))
    assert six == pytest.approx(0.01446, abs=1e-4) and six < 0.025
    assert not agree_by_chance(0, 100, 6, 100) and agree_by_chance(0, 100, 5, 100)
    assert agree_by_chance(20, 100, 40, 200) == agree_by_chance(40, 200, 20, 100) is True
    with pytest.raises(InputError, match="got 3 of 2"):
        agree_by_chance(3, 2, 1, 5)


@pytest.mark.parametrize("n", [100, 500])
def test_what_a_count_asserts_is_what_its_limits_say(n):
    for found in assertable(n):
        above, below = round(found.lowest_above * n), round(found.highest_below * n)
        assert clopper_pearson(above, n)[0] > found.line >= clopper_pearson(above - 1, n)[0]
        assert clopper_pearson(below, n)[1] < found.line <= clopper_pearson(below + 1, n)[1]
    assert math.isnan(assertable(20)[0].highest_below)  # no 20 cells exclude 5 %
    assert missed_share(100) == pytest.approx(0.0295, abs=1e-4)  # 1 - 0.05^(1/100)


def test_abnormal_and_normal_by_hand():
    """Four patients of 100 cells, blasts from 1 %: the reference sees 1, 1, 0, 0 of them, the test 1, 0, 1, 0."""
    blasts = ((1, 1, 0, 0), (1, 0, 1, 0))
    one, other = (table(n, [[60 - b, 30, 10, b] for b in own]) for n, own in zip("ab", blasts, strict=True))
    pair = align(one, other, "blood")
    limits, left = usable(read_limits(), pair)
    found = two_by_two(pair, limits, "morphology")
    assert (found.both, found.reference_only, found.test_only, found.neither) == (1, 1, 1, 1)
    assert found.positive.value == found.negative.value == found.overall.value == 0.5
    assert (found.positive.low, found.positive.high) == clopper_pearson(1, 2)
    assert any("eosinophil: not stated by both" in x for x in left)
    normal = two_by_two(pair, limits, "distribution")
    assert normal.neither == 4 and math.isnan(normal.positive.value)  # 30 % lymphocytes, 59 or 60 % neutrophils


@pytest.mark.parametrize("row", of_r("exact"), ids=lambda r: f"{r['what']} {r['a']} of {r['b']}")
def test_exact_limits_are_rs(row):
    low, high = clopper_pearson(int(row["a"]), int(row["b"]))
    assert (low if row["what"].endswith("low") else high) == pytest.approx(float(row["value"]), abs=1e-8)


@pytest.mark.parametrize("row", of_r("chance agreement"), ids=lambda r: r["a"])
def test_the_ceiling_of_chance_is_the_binomials(row):
    """Two perfect readers of one patient: P(both abnormal) + P(neither), by R's pbinom."""
    share, n, m, start = (float(row[k]) for k in "abcd")
    one, other = (table(x, [[round(k * (1 - share)), round(k * share)]] * 3, ("neutrophil", "blast"))
                  for x, k in (("a", n), ("b", m)))  # fmt: skip
    pair = align(one, other, "marrow")
    (limit,) = [x for x in read_limits() if x.specimen == "marrow"]
    own = type(limit)("marrow", "morphology", "blast", 0.0, start, False, "made up")
    chance = chance_agreement(pair, [own], n_draws=4000)["overall"]
    error = math.sqrt(0.25 / (3 * 4000))
    assert chance.value == pytest.approx(float(row["value"]), abs=4 * error)


def test_perfect_readers_lie_within_the_band_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = [agree_by_chance(*map(int, (rng.binomial(200, 0.1), 200, rng.binomial(100, 0.1), 100))) for _ in range(800)]
    assert 0.94 < np.mean(held) < 0.99


def test_imprecision_tells_counting_from_scatter():
    rng = np.random.default_rng(0)
    rows, who, what = [], [], []
    for patient in range(40):
        share = rng.uniform(0.1, 0.4)
        for condition, deviation in (("same photographs", 0.0), ("other slide", 0.06)):
            for _ in range(3):
                k = rng.binomial(300, np.clip(share + rng.normal(0, deviation), 0.01, 0.99))
                rows.append([k, 300 - k])
                who.append(f"p{patient}")
                what.append(condition)
    counted = CountTable("r", tuple(who), ("blast", "neutrophil"), np.array(rows), conditions=tuple(what))
    same, _, other, _ = imprecision(counted, "blood")
    assert (same.condition, other.condition) == ("same photographs", "other slide")
    assert same.ratio.low < 1 < same.ratio.high and same.ratio.high < 1.25
    assert other.scatter == pytest.approx(0.06, abs=0.012) and other.ratio.low > 1.8
    assert same.effective_cells == pytest.approx(300, rel=0.3) and other.effective_cells < 75
    once = CountTable("r", ("a", "b"), ("blast",), np.array([[3], [4]]), conditions=("x", "x"))
    with pytest.raises(InputError, match="nothing was repeated"):
        imprecision(once, "blood")


def test_imprecision_by_hand():
    """Two counts of 100: 10 and 20 blasts. SD 0.0707; p = 0.15, binomial SD 0.0358 with the 200 cells' correction."""
    counted = CountTable(
        "r", ("a", "a"), ("blast", "neutrophil"), np.array([[10, 90], [20, 80]]), conditions=("x", "x")
    )
    found = imprecision(counted, "blood")[0]
    chance = math.sqrt(0.15 * 0.85 / 100 * 200 / 199)
    assert found.deviation == pytest.approx(0.1 / math.sqrt(2)) and found.ratio.value == pytest.approx(
        0.1 / math.sqrt(2) / chance
    )
    assert found.effective_cells == pytest.approx(100 / found.ratio.value**2) and math.isnan(found.ratio.low)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[limit]]\nkind = "distribution"\nlow = 40\nhigh = 80\nsource = "x"\n' + OF_BLASTS, "shares"),
        ('[[limit]]\nkind = "morphology"\nfrom = 0.01\n' + OF_BLASTS, "a source"),
        ('[[limit]]\nkind = "morphology"\nat = 0.01\nsource = "x"\n' + OF_BLASTS, "unknown key at"),
        ("limit = 3", "no .*limit"),
        ("[[limit", "is no TOML"),
    ],
)
def test_wrong_limits_are_one_line(tmp_path, text, said):
    path = tmp_path / "limits.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        read_limits(path)


def test_the_command_compares_two_readers_and_a_third(tmp_path, capsys):
    rng = np.random.default_rng(1)
    shares = rng.dirichlet([6, 3, 0.8, 0.4], 12)
    paths = []
    for name, n in (("test", 200), ("a", 200), ("b", 100)):
        rows = [(f"p{i}", *rng.multinomial(n, p)) for i, p in enumerate(shares)]
        paths.append(str(write(tmp_path / f"{name}.csv", rows)))
    repeats = [(f"p{i}", *rng.multinomial(100, p), "other slide") for i, p in enumerate(shares) for _ in range(2)]
    write(tmp_path / "r.csv", repeats, heads=(*HEADS, "condition"))
    command = ["evaluate", paths[0], "--against", *paths[1:], "--specimen", "blood", "--out", str(tmp_path / "out")]
    assert main([*command, "--repeats", str(tmp_path / "r.csv")]) == 0
    said = capsys.readouterr().out
    assert "test against all readers together: neutrophil" in said and "b against a: abnormal by" in said
    page = (tmp_path / "out" / "against.html").read_text("utf-8")
    assert "Research use only" in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    result = json.loads((tmp_path / "out" / "against.json").read_text("utf-8"))
    assert result["against_version"] == 1 and len(result["pairs"]) == 4
    names = {p.stem for p in (tmp_path / "out" / "tables").glob("*.csv")}
    assert names == {"classes", "abnormal", "imprecision", "assertable", "patients", "limits"}
    with open(tmp_path / "out" / "tables" / "patients.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = next(r for r in rows if r["Comparison"] == "test against a" and r["Class"] == "neutrophil")
    assert int(first["of"]) == int(first["of "]) == 200 and first["Within the band"] in ("yes", "no")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--out", "o"], "needs --data and --split"),
        (["x", "--data", "d", "--split", "all", "--specimen", "blood", "--out", "o"], "--specimen does not belong"),
        (
            ["x", "--against", "r.csv", "--split", "all", "--out", "o"],
            "--split does not belong to evaluate with --against",
        ),
        (["{a}", "--against", "{a}", "--out", "o"], "the specimen is not stated"),
        (["{a}", "--against", "{b}", "--specimen", "blood", "--out", "o"], "3 patients or more, got 2"),
    ],
)
def test_the_commands_options_are_checked(tmp_path, capsys, words, said):
    write(tmp_path / "a.csv", ROWS[:2])
    write(tmp_path / "b.csv", ROWS[:2])
    places = {"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"}
    assert main(["evaluate", *(w.format(**places) for w in words)]) == 2
    assert said in capsys.readouterr().err


def test_a_runs_record_is_compared_in_its_own_specimen(tmp_path, capsys):
    run = make_run(tmp_path / "run", n_patients=4)["record"]
    found = read_counts(run.parent)
    assert len(found.patients) == 4 and found.counts.sum() > 100
    rows = [(p, *c) for p, c in zip(found.patients, found.counts.tolist(), strict=True)]
    reference = write(tmp_path / "r.csv", rows, heads=("patient_id", *found.classes))
    words = ["evaluate", str(run.parent), "--against", str(reference), "--out", str(tmp_path / "o")]
    assert main(words) == 0
    assert "in 100 % of 4 patients" in capsys.readouterr().out
    assert main([*words, "--specimen", "marrow"]) == 2
    assert "is a record of blood, and --specimen says marrow" in capsys.readouterr().err


def test_scipy_agrees_on_the_conditional_test():
    """The band's two tails are scipy's hypergeometric ones."""
    for k, n, m, total in ((3, 100, 9, 200), (40, 200, 31, 100), (0, 50, 4, 80)):
        low = stats.hypergeom.cdf(k, n + total, k + m, n)
        high = stats.hypergeom.sf(k - 1, n + total, k + m, n)
        assert agree_by_chance(k, n, m, total) == (min(low, high) > 0.025)

"""Counting: what a ratio is made of, its limits, its band, and the flags."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.count import add, artefacts_per_100, count, no_cells, ratio, ratios, read_bands
from leukoscope.errors import InputError
from leukoscope.flags import flags
from leukoscope.taxonomy import BLOOD_12, MARROW_16, PCM_9, Taxonomy
from leukoscope.types import Calls, Cells, Differential, FieldKey

MARROW = Taxonomy(
    name="marrow-test",
    names=("N", "CBLC", "smudge_cell", "unidentified"),
    counted=("N", "CBLC"),
    artefacts=("smudge_cell",),
    composites={"cblc": ("CBLC",)},
)


def calls(class_ids, *, patient="p1", specimen="blood", taxonomy=BLOOD_12, rng=None):
    """Calls with these classes most probable."""
    n, n_classes = len(class_ids), len(taxonomy.names)
    probs = np.full((n, n_classes), 0.2 / n_classes)
    if rng is not None:
        probs = 0.2 * rng.dirichlet(np.ones(n_classes), n)
    probs[np.arange(n), class_ids] += 0.8
    boxes = np.tile([0, 0, 1, 1], (n, 1))
    return Calls(Cells(FieldKey("f", "s", patient, "c", specimen), boxes, np.ones(n)), probs, taxonomy)


def tally(taxonomy=BLOOD_12, specimen="blood", **counts):
    """A differential from counts by class name."""
    values = [counts.get(name, 0) for name in taxonomy.names]
    return Differential("p1", specimen, values, values, 1, taxonomy)


class_ids = st.lists(st.integers(0, 11), max_size=30)


@given(class_ids, st.randoms(use_true_random=False))
def test_the_order_of_cells_changes_nothing(ids, random):
    shuffled = random.sample(ids, len(ids))
    before, after = count([calls(ids)]), count([calls(shuffled)])
    assert before.counts.tolist() == after.counts.tolist() == np.bincount(ids, minlength=12).tolist()
    np.testing.assert_allclose(before.expected, after.expected)
    assert ratio(before).value == ratio(after).value or not before.n_counted


@given(class_ids, class_ids, st.integers(0, 2**32 - 1))
def test_counting_two_parts_is_counting_the_whole(a, b, seed):
    one, other = calls(a, rng=np.random.default_rng(seed)), calls(b, rng=np.random.default_rng(seed + 1))
    both = calls(a + b)
    merged = add(count([one]), count([other]))
    assert merged.counts.tolist() == count([both]).counts.tolist()
    np.testing.assert_allclose(merged.expected, count([one, other]).expected)
    assert merged.expected.sum() == pytest.approx(len(a) + len(b), abs=1e-3)
    assert merged.n_fields == 2


@given(class_ids, st.integers(0, 40))
def test_cells_that_are_not_counted_never_move_a_ratio(ids, n_artefacts):
    artefact = BLOOD_12.index("artefact")
    without = [i for i in ids if i != artefact]
    assert repr(ratio(count([calls(without)]))) == repr(ratio(count([calls(without + [artefact] * n_artefacts)])))


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({"patient": "p1"}, {"patient": "p2"}, "patients"),
        ({"specimen": "blood"}, {"specimen": "marrow"}, "specimens"),
        ({"taxonomy": BLOOD_12}, {"taxonomy": PCM_9}, "taxonomies"),
    ],
)
def test_nothing_is_mixed(one, other, word):
    with pytest.raises(InputError, match=f"two {word}"):
        count([calls([0], **one), calls([0], **other)])


def test_two_taxonomies_of_one_name_are_not_mixed():
    twin = Taxonomy(name="pcm-9", names=PCM_9.names[::-1], counted=PCM_9.counted)
    with pytest.raises(InputError, match="different taxonomies"):
        add(no_cells("p", "blood", PCM_9), no_cells("p", "blood", twin))


def test_no_fields_at_all():
    with pytest.raises(InputError, match="no_cells"):
        count([])


@pytest.mark.parametrize(("n", "low", "high"), [(100, 0.127, 0.292), (500, 0.166, 0.238)])
def test_limits_are_those_of_ruemkes_table(n, low, high):
    r = ratio(tally(lymphoblast=n // 5, lymphocyte=n - n // 5, artefact=77))
    assert (r.name, r.value, r.denominator, r.method, r.level) == ("blasts", 0.2, n, "clopper-pearson", 0.95)
    assert (round(r.low, 3), round(r.high, 3)) == (low, high)


def test_wilson_and_another_level():
    d = tally(lymphoblast=20, lymphocyte=80)
    assert ratio(d, method="wilson").low == pytest.approx(0.1334, abs=1e-4)
    assert ratio(d, level=0.5).low > ratio(d).low
    with pytest.raises(InputError, match="clopper-pearson or wilson"):
        ratio(d, method="wald")


def test_ratios_of_a_class_and_of_what_is_not_there():
    assert ratio(tally(lymphocyte=3, monocyte=1), "monocyte").value == 0.25
    with pytest.raises(InputError, match="'artefact'"):
        ratio(tally(), "artefact")
    with pytest.raises(InputError, match="'blasts'.*expected one of N, CBLC, cblc"):
        ratio(tally(MARROW), "blasts")


def marrow(blasts, n):
    return tally(MARROW_16, "marrow", myeloblast=blasts, lymphocyte=n - blasts)


def band(blasts, n):
    counted = marrow(blasts, n)
    return read_bands(counted, ratio(counted)).band


@pytest.mark.parametrize(
    ("blasts", "n", "name"),
    [
        (0, 500, "<5"),
        (24, 500, "<5"),
        (25, 500, "5-9"),
        (49, 500, "5-9"),
        (99, 1000, "5-9"),
        (50, 500, "10-19"),
        (199, 1000, "10-19"),
        (100, 500, ">=20"),
        (500, 500, ">=20"),
        (100, 499, None),
    ],
)
def test_bands_hold_their_lower_edge(blasts, n, name):
    assert band(blasts, n) == name


@given(st.integers(100, 400))
def test_the_twenty_percent_line_is_exact_at_every_number(fifth):
    assert band(fifth, 5 * fifth) == ">=20"
    assert band(fifth, 5 * fifth + 1) == "10-19"


def test_no_cells_no_band_and_no_limits():
    counted = no_cells("p", "blood", PCM_9)
    empty, reading = ratio(counted), read_bands(counted, ratio(counted))
    assert (reading.band, reading.reason) == (None, "no_cells") and math.isnan(empty.low) and math.isnan(empty.value)


def test_cblc_never_has_a_band():
    counted = tally(MARROW, "marrow", N=500, CBLC=500, unidentified=30)
    (cblc,) = ratios(counted)
    reading = read_bands(counted, cblc)
    assert (cblc.name, cblc.value, reading.band, reading.reason, reading.lines) == ("cblc", 0.5, None, "composite", ())


def test_artefacts_per_100_counted_cells():
    assert artefacts_per_100(tally(lymphocyte=50, artefact=10)) == 20
    assert artefacts_per_100(tally(artefact=10)) is None


def test_flags_for_fields():
    found = flags(tally(lymphocyte=200), min_cells=200, n_failed=1, n_poor=3)
    assert [f["code"] for f in found] == ["failed_fields", "poor_fields"]
    assert found[0]["text"].startswith("1 field could not") and found[1]["text"].startswith("3 fields of poor")


def test_no_flag_orders_a_treatment():
    texts = " ".join(f["text"] for f in flags(tally(PCM_9, apl_promyelocyte=9), min_cells=100, n_failed=1, n_poor=1))
    assert not {"atra", "tretinoin", "treat", "therapy", "give", "transfuse", "diagnosis"} & set(texts.lower().split())


@given(class_ids, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_cells_that_are_not_identified_are_in_no_class_and_in_the_sum(ids, least, seed):
    one = calls(ids, rng=np.random.default_rng(seed))
    strict = Calls(one.cells, one.probs, one.taxonomy, least_prob=least)
    counted, sure = count([strict]), one.probs.max(1, initial=0) >= np.float32(least)
    assert counted.n_unidentified == (~sure).sum() and counted.n_found == len(ids)
    assert counted.counts.sum() == sure.sum() == pytest.approx(counted.expected.sum(), abs=1e-3)
    assert add(counted, count([strict])).n_unidentified == 2 * counted.n_unidentified
    assert count([one]).n_unidentified == 0

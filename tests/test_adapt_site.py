"""`leukoscope adapt` from a data set to a model folder, and the API for crop sets, on an untrained network."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from data.make_untrained import THREE, make_coloured_site, make_untrained

from benchmarks.sites.held_out import held_out_probs
from leukoscope.cli import main
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.models.bundle import CropRule, find_model
from leukoscope.taxonomy import TAXONOMIES
from leukoscope.train.adapt import adapt
from leukoscope.train.adapt.cells import read_site_cells
from leukoscope.train.adapt.features import classifier_trunk
from leukoscope.train.adapt.heads import SiteProblem, nearest_mean_probs
from leukoscope.train.adapt.network import read_network
from leukoscope.train.adapt.site import allowed_classes
from leukoscope.train.adapt.site_head import fit_site_head


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "classifier"
    folder.mkdir()
    make_untrained(folder)
    return folder.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return make_coloured_site(tmp_path_factory.mktemp("site"))


def test_the_command_writes_a_model_and_says_what_it_measured(model, site, tmp_path, capsys):
    assert main(["adapt", str(model), "--data", str(site), "--out", str(tmp_path / "ours"), "--fraction", "0.6"]) == 0
    said = capsys.readouterr().out
    assert "labelled cells used: 9 (" in said
    assert "accuracy, cells not used:" in said
    card = find_model(tmp_path / "ours")["classify"].card
    assert card.name == "untrained, adapted to colours"
    assert card.training["adapted_to"]["n_labelled"] == 9
    assert card.limits[0].startswith("Adapted on 9 cells of colours")
    assert {r["split"] for r in card.results} == {"cross-validated", "held out"}


def test_choosing_lists_cells_without_looking_at_labels(model, site, tmp_path, capsys):
    out = tmp_path / "to-label.csv"
    assert main(["adapt", str(model), "--data", str(site), "--choose", "5", "--out", str(out)]) == 0
    assert "5 cells to label" in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [r["order"] for r in rows] == list("12345")
    assert len({r["file"] for r in rows}) == 5
    assert main(["adapt", str(model), "--data", str(site), "--choose", "99", "--out", str(out)]) == 2
    assert "can't choose 99 of 18 cells" in capsys.readouterr().err


def test_a_fraction_and_a_choice_together_are_refused(model, site, capsys):
    words = ["adapt", str(model), "--data", str(site), "--out", "x", "--choose", "5", "--fraction", "0.5"]
    assert main(words) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_set_without_white_cells_says_which_splits_were_looked_at(site):
    dataset = read_dataset(site)
    fields = tuple(replace(f, cells=(), split="test" if i else None) for i, f in enumerate(dataset.fields[:3]))
    with pytest.raises(DataError, match=r"none of the 3 fields looked at \(2 split test, 1 without a split\)"):
        read_site_cells(replace(dataset, fields=fields), CropRule(size=32, pad_fraction=0.25), taxonomy=THREE)


def test_adapt_gives_a_predictor_for_crop_sets(model, site):
    bundle = find_model(model)["classify"]
    cells = read_site_cells(read_dataset(site), bundle.card.crop, taxonomy=THREE)
    known, rest = cells.typed(), cells.subset(cells.labels < 0)
    trunk = classifier_trunk(read_network(bundle), name="untrained")
    predictor = adapt([trunk], known, known, unlabelled=rest, method="nearest-mean")
    probs = predictor.probs(cells)
    assert probs.shape == (18, 3)
    assert np.allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == np.arange(18) % 3).mean() > 0.9
    with pytest.raises(InputError, match="no method 'magic'"):
        adapt([trunk], known, known, method="magic")
    with pytest.raises(DataError, match="no class of the taxonomy"):
        adapt([trunk], known, cells)
    with pytest.raises(DataError, match="at least one labelled cell"):
        adapt([trunk], known, known.subset(np.zeros(0, int)))


def test_a_label_allows_the_classes_it_may_mean():
    blood = TAXONOMIES["blood-12"]
    rows = allowed_classes(np.array(["neutrophil", "monocyte", "atypical_lymphocyte", "white_cell", ""]), blood)
    named = [{blood.names[i] for i in np.flatnonzero(r)} for r in rows]
    assert named[0] == {"band_neutrophil", "segmented_neutrophil"}
    assert named[1:] == [{"monocyte"}, {"lymphocyte"}, set(), set()]


def test_a_site_head_learns_what_the_old_layer_can_not_and_stays_where_it_is_right():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    heard = np.eye(3)[labels] * 3 + rng.normal(0, 0.3, (30, 3))
    right = np.vstack([np.eye(3) * 20, np.zeros(3)])
    groups = np.arange(30).astype(str)
    learnt = fit_site_head(heard, np.eye(3, dtype=bool)[labels], right[[1, 2, 0, 3]] / 20, groups=groups)
    assert learnt.pull is not None
    assert learnt.before < 0.1 < 0.9 < learnt.after
    kept = fit_site_head(heard, np.eye(3, dtype=bool)[labels], right, groups=groups)
    assert kept.pull is None
    assert np.array_equal(kept.weights, right)
    with pytest.raises(DataError, match="labelled cells"):
        fit_site_head(heard, np.zeros((30, 3), bool), right, groups=groups)


def test_held_out_probs_come_from_heads_without_the_cells_label():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 4))
    labels = rng.integers(0, 2, 60)  # nothing to learn: whoever sees the label would be right
    problem = SiteProblem(x[:30], labels[:30], x[30:50], labels[30:50], x[50:], 2)
    probs = held_out_probs(problem, nearest_mean_probs, groups=np.arange(20).astype(str))
    assert probs.shape == (20, 2)
    other = SiteProblem(x[:30], labels[:30], x[30:50], np.r_[1 - labels[30], labels[31:50]], x[50:], 2)
    changed = held_out_probs(other, nearest_mean_probs, groups=np.arange(20).astype(str))
    assert np.array_equal(probs[0], changed[0])
    assert not np.array_equal(probs[1:], changed[1:])
    with pytest.raises(DataError, match="one photograph"):
        held_out_probs(problem, nearest_mean_probs, groups=np.repeat("a", 20))

"""A site's profile: features brought home without labels, in whatever mix they come, and the pools it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from data.make_untrained import make_coloured_site, make_untrained

from leukoscope.cli import main
from leukoscope.errors import DataError
from leukoscope.models.bundle import find_model
from leukoscope.progress import no_progress
from leukoscope.taxonomy import BLOOD_12

pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.train.adapt import profile_site  # noqa: E402
from leukoscope.train.adapt.heads import with_one  # noqa: E402
from leukoscope.train.adapt.network import read_network  # noqa: E402
from leukoscope.train.adapt.profile import fit_profile, measure_reference, read_reference, write_reference  # noqa: E402
from leukoscope.train.adapt.profile_site import LEAST_CELLS, check_mix, check_patients  # noqa: E402
from leukoscope.train.adapt.site_cells import hear_site  # noqa: E402
from leukoscope.train.adapt.site_head import old_weights  # noqa: E402

N_CLASSES, WIDTH = 4, 12


def cells(n, seed, shares=(0.25, 0.25, 0.25, 0.25)):
    """Features (n, WIDTH) around four class centres, and labels (n,)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(0, 1.2, (N_CLASSES, WIDTH))
    labels = rng.choice(N_CLASSES, n, p=shares)
    return centres[labels] + rng.normal(0, 1, (n, WIDTH)), labels


def layer():
    """The layer (WIDTH + 1, C) that tells those classes apart best."""
    centres = np.random.default_rng(7).normal(0, 1.2, (N_CLASSES, WIDTH))
    return np.concatenate([centres.T, -(centres**2).sum(1)[None] / 2])


def right(heard, weights, labels):
    return float(((with_one(heard) @ weights).argmax(1) == labels).mean())


def elsewhere(heard):
    """The same cells as another camera would show them."""
    rng = np.random.default_rng(3)
    return heard * rng.uniform(0.6, 1.6, WIDTH) + rng.normal(0, 2.5, WIDTH)


def test_a_shifted_site_comes_home_whatever_its_mix():
    reference = measure_reference(*cells(2000, 0), N_CLASSES)
    for shares in ((0.25, 0.25, 0.25, 0.25), (0.6, 0.3, 0.08, 0.02)):
        heard, labels = cells(600, 1, shares)
        away = elsewhere(heard)
        before, best = right(away, layer(), labels), right(heard, layer(), labels)
        profile = fit_profile(away, layer(), reference, temperature=1.0)
        assert before < best - 0.05
        assert right(away, profile.weights, labels) > best - 0.05
        assert np.abs(profile.mix - shares).max() < 0.1
    at_home = fit_profile(cells(600, 2, (0.6, 0.3, 0.08, 0.02))[0], layer(), reference, temperature=1.0)
    assert np.abs(at_home.shift).max() < 0.25  # an uneven mix alone is no shift
    assert np.abs(profile.shift).max() > 1


def test_no_strength_leaves_the_layer_alone():
    heard, labels = cells(300, 0)
    reference = measure_reference(heard, labels, N_CLASSES)
    assert fit_profile(elsewhere(heard), layer(), reference, temperature=1.0, strength=0).weights == pytest.approx(
        layer()
    )
    with pytest.raises(DataError, match="needs cells"):
        fit_profile(heard[:1], layer(), reference, temperature=1.0)


def test_a_reference_is_read_back(tmp_path):
    reference = measure_reference(*cells(300, 0), N_CLASSES)
    assert read_reference(tmp_path) is None
    write_reference(reference, tmp_path)
    again = read_reference(tmp_path)
    assert (again.n == reference.n).all() and np.abs(again.means - reference.means).max() < 0.01
    (tmp_path / "reference.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="damaged"):
        read_reference(tmp_path)


def test_pools_that_are_no_laboratory_are_refused():
    many = np.repeat(["a", "b", "c", "d"], LEAST_CELLS // 4)
    check_patients(many, "patient")
    with pytest.raises(DataError, match=f"needs {LEAST_CELLS}"):
        check_patients(many[1:], "patient")
    with pytest.raises(DataError, match="2 patients"):
        check_patients(np.repeat(["a", "b"], LEAST_CELLS), "patient")
    with pytest.raises(DataError, match="'a'"):
        check_patients(np.repeat(["a", "b", "c"], (300, 20, 20)), "patient")
    check_patients(np.repeat(["f"], LEAST_CELLS), "photograph")


def test_an_unusual_mix_is_refused():
    def mix(**shares):
        out = np.zeros(len(BLOOD_12.names))
        for name, share in shares.items():
            out[BLOOD_12.index(name)] = share
        return out

    check_mix(mix(segmented_neutrophil=0.6, lymphocyte=0.33, monocyte=0.05, lymphoblast=0.02), BLOOD_12)
    for odd, word in (
        (mix(segmented_neutrophil=0.6, lymphoblast=0.4), "blasts"),
        (mix(segmented_neutrophil=0.6, myelocyte=0.2, promyelocyte=0.2), "immature"),
        (mix(lymphocyte=0.97, monocyte=0.03), "97.0% lymphocyte"),
    ):
        with pytest.raises(DataError, match=word):
            check_mix(odd, BLOOD_12)


def test_the_command_writes_a_profiled_model_or_says_why_not(tmp_path, capsys, monkeypatch):
    (tmp_path / "model" / "classifier").mkdir(parents=True)
    bundle = make_untrained(tmp_path / "model" / "classifier")
    site = make_coloured_site(tmp_path / "site")
    words = ["adapt", str(tmp_path / "model"), "--data", str(site), "--out", str(tmp_path / "ours"), "--unlabelled"]
    assert main(words) == 2
    assert "holds no reference" in capsys.readouterr().err
    network = read_network(bundle)
    cells, heard = hear_site({}, bundle, network, site, no_progress)
    write_reference(measure_reference(heard, np.arange(len(heard)) % 3, 3), bundle.path)
    assert main(words) == 2
    assert f"a profile needs {LEAST_CELLS} or more" in capsys.readouterr().err
    for name in ("LEAST_CELLS", "LEAST_PATIENTS"):
        monkeypatch.setattr(profile_site, name, 1)
    for name in ("MOST_OF_ONE", "MOST_OF_CLASS", "MOST_BLASTS", "MOST_IMMATURE"):
        monkeypatch.setattr(profile_site, name, 1.0)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"cells looked at: {len(heard)}" in said and "nothing was measured" in said
    ours = find_model(tmp_path / "ours")["classify"]
    assert ours.card.confusion is None and ours.card.training["profile"]["n_cells"] == len(heard)
    assert (tmp_path / "ours" / "classifier" / "profile.npz").is_file()
    old, new = (with_one(heard) @ old_weights(n) for n in (network, read_network(ours)))
    assert np.abs(old - new).max() < 0.5  # these cells are the reference's own, in about its mix
    assert main([*words, "--choose", "3"]) == 2
    assert "leave --choose and --fraction out" in capsys.readouterr().err

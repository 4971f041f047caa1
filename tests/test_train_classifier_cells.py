"""What the classifier is fed: cells of smears and cut-out ones, made cells, stains, frames; the losses on them."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError
from leukoscope.taxonomy import BLOOD_12

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from benchmarks.sites.store_file import read_store, write_store  # noqa: E402
from leukoscope.train.augment import jitter_colour, jitter_stain, match_nuclei_of  # noqa: E402
from leukoscope.train.classifier import task as loop  # noqa: E402
from leukoscope.train.classifier.attribute_layer import turned  # noqa: E402
from leukoscope.train.classifier.data import class_targets, load_cells  # noqa: E402
from leukoscope.train.classifier.dress import Dress, Wardrobe  # noqa: E402
from leukoscope.train.classifier.loss import (  # noqa: E402
    contrast_loss,
)
from leukoscope.train.classifier.made_cells import SMUDGE, make_cells  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


CLASS_SETS = {"neutrophil": ("band_neutrophil", "segmented_neutrophil"), "lymphoid_precursor": ("lymphocyte",)}


@pytest.fixture
def store(painted_sets):
    return load_cells([read_dataset(s) for s in painted_sets], um_per_px={"smears": 0.1, "cutouts": 0.1}, seed=0)


def test_a_store_knows_what_was_cut_out_and_what_a_cell_may_be(store):
    cut = np.char.startswith(store.groups, "cutouts")
    assert (store.masked == cut).all()
    targets = class_targets(store, BLOOD_12, CLASS_SETS)
    neutrophils = targets[store.groups == "smears:neutrophil"]
    assert (neutrophils.sum(1) == 2).all() and neutrophils[:, [0, 1]].all()
    assert np.allclose(store.diameters[cut], 5.0)
    assert (targets.any(1)).all()
    assert not class_targets(store, BLOOD_12, CLASS_SETS | {"neutrophil": ()})[store.classes == "neutrophil"].any()


def test_an_unmapped_class_is_refused_by_name(store):
    with pytest.raises(DataError, match="lymphoid_precursor"):
        class_targets(store, BLOOD_12, {"neutrophil": ("band_neutrophil",)})


def test_a_store_in_a_file_is_the_same_store(store, tmp_path):
    write_store(store, tmp_path / "cells.npz")
    again = read_store(tmp_path / "cells.npz")
    for name in ("diameters", "box_shapes", "masked", "sets", "classes", "patients", "splits", "ground_sets"):
        assert (getattr(again, name) == getattr(store, name)).all(), name
    assert np.abs(again.windows.astype(int) - store.windows).mean() < 8  # WebP loses a little
    assert np.abs(again.masks.astype(int) - store.masks).mean() < 8
    (tmp_path / "other.npz").write_bytes(b"no store")
    with pytest.raises(DataError, match="not a store"):
        read_store(tmp_path / "other.npz")


def test_made_cells_are_smudges_and_artefacts_of_real_ones(store):
    made = make_cells(store, destroyed=3, drawn=2, artefacts=6, seed=0)
    assert (made.sets == "made").all() and (made.classes == SMUDGE).sum() == 5 and len(made) == 11
    of_cells = made.patients != ""
    assert of_cells.sum() == 5 and all(p.startswith("smears/") for p in made.patients[of_cells])
    same = make_cells(store, destroyed=3, drawn=2, artefacts=6, seed=0)
    assert (same.windows == made.windows).all()
    targets = class_targets(store.joined(made), BLOOD_12, CLASS_SETS)[-11:]
    assert targets[:, BLOOD_12.index("artefact")].all()  # a taxonomy without smudges has them among its artefacts
    without = store.grounds_of([])
    assert not len(make_cells(without, destroyed=3, drawn=2, artefacts=6, seed=0))


def test_cut_out_cells_land_on_smear_and_smear_cells_on_black(store):
    wardrobe = Wardrobe(store, "cpu")
    cut, smear = (np.flatnonzero(store.masked == masked)[:4] for masked in (True, False))
    plain = Dress(frame=(1.5, 1.5), grounds=0, black=0, cut=0, own_colour=1)
    pasted = wardrobe.batch(cut, 64, plain, (0,))
    rim = torch.cat([pasted[:, :, :3], pasted[:, :, -3:]], 2)
    assert rim.amax(1).min() > 0.3  # the black has gone
    before = wardrobe.plain(cut, 64, 0.25)[:, :, 28:36, 28:36].mean()
    assert pasted[:, :, 28:36, 28:36].mean() > before + 0.05  # and the cell has the smear's brightness
    black = wardrobe.batch(smear, 64, Dress(frame=(1.5, 1.5), black=1, cut=0, own_colour=1), (0,))
    assert black[:, :, :3].max() < 0.05 and black[:, :, 28:36, 28:36].max() > 0.2
    other = wardrobe.batch(smear, 64, Dress(), (1,))
    assert torch.equal(other, wardrobe.batch(smear, 64, Dress(), (1,)))
    assert not torch.equal(other, wardrobe.batch(smear, 64, Dress(), (2,)))


def test_a_cell_cut_by_the_frame_keeps_more_than_half_and_is_centred_anew(store):
    wardrobe = Wardrobe(store, "cpu")
    smear = np.repeat(np.flatnonzero(~store.masked)[:1], 12)
    crops = wardrobe.batch(smear, 64, Dress(frame=(1.5, 1.5), grounds=0, black=0, cut=1, own_colour=1), (3,))
    dark = (crops[:, 1] < 0.6).float()  # the cell is the darkest thing there
    assert (dark[:, 26:38, 26:38].mean((1, 2)) > 0.5).all()
    white = (crops - 240 / 255).abs().amax(1) < 0.01
    assert (white.float().mean((1, 2)) > 0.05).all()  # and beyond the frame there is nothing


def test_contrast_pulls_a_class_together_across_laboratories():
    targets = torch.eye(2, dtype=torch.bool)[torch.tensor([0, 0, 1, 1])]
    sets = torch.tensor([0, 1, 0, 1])
    by_class = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    by_set = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert contrast_loss(by_class, targets, sets) < contrast_loss(by_set, targets, sets) - 5
    assert contrast_loss(by_class, targets, torch.zeros(4)) == 0  # one laboratory has nothing to say
    both = torch.ones_like(targets)
    assert contrast_loss(by_class, both, sets) == 0  # nor a cell that may be anything


def test_unspecified_cells_teach_the_sum_of_their_classes():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    one = loop.set_cross_entropy(logits, torch.tensor([[True, False, False]]), smoothing=0.0)
    two = loop.set_cross_entropy(logits, torch.tensor([[True, True, False]]), smoothing=0.0)
    probs = torch.softmax(logits, 1)[0]
    assert one.item() == pytest.approx(-torch.log(probs[0]).item(), abs=1e-6)
    assert two.item() == pytest.approx(-torch.log(probs[0] + probs[1]).item(), abs=1e-6)


def test_stain_changes_and_the_white_background_stays():
    white = torch.full((6, 3, 8, 8), 240 / 255)
    stained = torch.full((6, 3, 8, 8), 0.4)
    rng = torch.Generator().manual_seed(0)
    assert (jitter_stain(stained, rng) - stained).abs().mean() > 0.05
    light = jitter_stain(white, torch.Generator().manual_seed(0))
    assert light.min() > 0.6
    assert torch.equal(jitter_colour(stained, rng, strength=0), stained)
    both = [jitter_colour(stained, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*both) and 0 <= both[0].min() and both[0].max() <= 1


def test_nuclei_are_matched_alike_in_batches():
    crops = np.random.default_rng(0).integers(60, 230, (3, 48, 48, 3)).astype(np.uint8)
    crops[:, 16:32, 16:32] //= 2
    density = (1.29, 2.16, 0.43)
    batch = match_nuclei_of(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255, density)
    ours = (batch * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours - match_nuclei(crops, density)).mean() < 1.5
    assert torch.equal(match_nuclei_of(batch, None), batch)


def test_turned_crops_are_the_same_pixels_elsewhere():
    crops = np.random.default_rng(0).integers(0, 255, (2, 6, 6, 3), np.uint8)
    seen = {turned(crops, k).tobytes() for k in range(4)}
    assert len(seen) == 4 and turned(crops, 4).tobytes() == crops.tobytes()
    for k in range(4):
        assert (turned(crops, k).sum((1, 2)) == crops.sum((1, 2))).all()

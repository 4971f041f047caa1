"""Two small classifiers joined: the logits are the mean of both, the bundle is half the size, a site can adapt it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.make_painted_cells import paint, write_config

from leukoscope.errors import ConfigError
from leukoscope.models.bundle import read_bundle
from leukoscope.models.runtime import Session

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.models.torch_classifier import export_classifier, fewer_pixels  # noqa: E402
from leukoscope.train.adapt.finetune import early_map, late_logits, second_means  # noqa: E402
from leukoscope.train.adapt.network import read_network, write_adapted, write_changed  # noqa: E402
from leukoscope.train.adapt.profile import measure_reference  # noqa: E402
from leukoscope.train.adapt.site_head import last_features, old_weights, sharpness  # noqa: E402
from leukoscope.train.augment import mix_channels  # noqa: E402
from leukoscope.train.classifier.bundle import read_classifier, set_nearness  # noqa: E402
from leukoscope.train.classifier.join import JoinConfig, _require_alike, join_classifiers  # noqa: E402
from leukoscope.train.classifier.network import start_weights  # noqa: E402
from leukoscope.train.fields import validation_fields, with_validation  # noqa: E402
from leukoscope.train.run import train  # noqa: E402

NUCLEUS = "nucleus_density = [1.29, 2.16, 0.43]"


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """(folder with runs first, second and joined, the validation fields): half and half."""
    folder = tmp_path_factory.mktemp("join")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    data = [paint(folder, "smears", ["lymphocyte", "monocyte", "neutrophil"])]
    first = train(write_config(folder, more=NUCLEUS), data, folder / "first")
    second = train(write_config(folder, more=f"{NUCLEUS}\ngrey = true\nseed = 1"), data, folder / "second")
    path = folder / "join.toml"
    path.write_text(f'task = "join"\nname = "both"\nfirst = "{first}"\nsecond = "{second}"\nshare = 0.5\n')
    train(path, data, folder / "joined")
    yield folder
    torch.set_num_threads(before)


@pytest.fixture
def cells():
    crops = np.random.default_rng(0).integers(30, 240, (5, 32, 32, 3)).astype(np.uint8)
    return crops, np.array([9.0, 0.0, 12.0, 7.5, 0.0], np.float32)


def test_its_logits_are_the_mean_of_both(joined, cells):
    pixels, diameters = map(torch.from_numpy, cells)
    first, second = (read_classifier(joined / name)[0] for name in ("first", "second"))
    about = json.loads((joined / "joined" / "run.json").read_text())["joined"]
    with torch.no_grad():
        of_first = first(pixels, diameters).numpy() / about["temperatures"][0]
        of_second = second(fewer_pixels(pixels), diameters).numpy() / about["temperatures"][1]
    bundle = read_bundle(joined / "joined" / "bundle")
    ours = Session(bundle).run(pixels=cells[0], diameter_um=cells[1])[0]
    assert np.abs(ours - (of_first + of_second) / 2).max() < 0.02  # weights are rounded to sixteen bits
    assert np.abs(of_first - of_second).max() > 0.1
    assert bundle.card.name == "both" and bundle.card.training["joined"]["share"] == 0.5


def test_the_bundle_equals_torch_and_takes_the_room_of_one(joined, cells):
    bundle = read_bundle(joined / "joined" / "bundle")
    network, _ = read_classifier(joined / "joined")
    with torch.no_grad():
        expected = network(*map(torch.from_numpy, cells)).numpy()
    assert np.abs(Session(bundle).run(pixels=cells[0], diameter_um=cells[1])[0] - expected).max() < 1e-4
    single = (joined / "first" / "bundle" / "model.onnx").stat().st_size
    assert bundle.onnx.stat().st_size < 1.05 * single


def test_the_second_trunk_sees_no_colour(joined, cells):
    pixels, diameters = cells
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    grey = mix_channels(batch, np.full((5, 3), 1 / 3)).permute(0, 2, 3, 1).round().byte().contiguous().numpy()
    assert (grey[..., 0] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - pixels.mean(-1)).max() <= 0.5
    second, _ = read_classifier(joined / "second")
    with torch.no_grad():
        both = [second(torch.from_numpy(p), torch.from_numpy(diameters)) for p in (pixels, grey)]
    assert (both[0] - both[1]).abs().max() < 0.02


def test_a_site_can_adapt_it(joined, cells, tmp_path):
    bundle = read_bundle(joined / "joined" / "bundle")
    network = read_network(bundle)
    heard, said = last_features(network, *cells, density=None)
    expected = Session(bundle).run(pixels=cells[0], diameter_um=cells[1])[0]
    assert np.abs(said - expected).max() < 1e-3
    assert heard.shape[1] + 1 == len(old_weights(network))
    pixels, diameters = map(torch.from_numpy, cells)
    with torch.no_grad():
        parts = late_logits(network, early_map(network, pixels), second_means(network, pixels), diameters)
        network.fc.bias += 1.0
    assert np.abs(parts.numpy() - expected).max() < 1e-3
    adapted = write_adapted(bundle, network, tmp_path / "adapted", card_changes={"name": "adapted"})
    moved = Session(adapted).run(pixels=cells[0], diameter_um=cells[1])[0]
    assert np.abs(moved - expected - 1).max() < 1e-3


def test_calls_are_surer_near_known_cells_and_stay_so_in_an_adapted_bundle(joined, cells, tmp_path):
    bundle = read_bundle(joined / "joined" / "bundle")
    network = read_network(bundle)
    without = Session(bundle).run(pixels=cells[0], diameter_um=cells[1])[0]
    heard, _ = last_features(network, *cells, density=None)
    assert (sharpness(network, heard) == 1).all()
    known = np.concatenate([heard * 1.01, heard * 0.99, heard[:2] * 1.2])
    set_nearness(network, measure_reference(known, np.arange(12) % 5, 12), {"near": 0.1, "far": 40.0, "most": 2.0})
    export_classifier(network, tmp_path / "model.onnx", size=32)
    near = write_changed(bundle, (tmp_path / "model.onnx").read_bytes(), tmp_path / "near", card_changes={})
    said = Session(near).run(pixels=cells[0], diameter_um=cells[1])[0]
    more = sharpness(network, heard)
    assert more.max() > 1.05 and len(np.unique(more.round(4))) > 1
    assert np.abs(said - without * more).max() < 1e-3 and (said.argmax(1) == without.argmax(1)).all()
    network = read_network(near)
    adapted = read_network(write_adapted(near, network, tmp_path / "adapted", card_changes={"name": "adapted"}))
    assert np.abs(sharpness(adapted, heard) - more).max() < 1e-6
    assert not any(name.startswith("nearness") for name in start_weights(str(tmp_path / "near")))  # a new run has none


def test_a_share_is_chosen_by_the_likelihood(joined, tmp_path):
    from leukoscope.dataset.manifest import read_dataset

    config = JoinConfig(name="chosen", first=str(joined / "first"), second=str(joined / "second"))
    data = with_validation([read_dataset(joined / "smears-set")], ("train",), 0)
    rows = join_classifiers(config, tmp_path / "run", validation_fields(data))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["joined"]["share"] == min(rows, key=lambda r: r["as_it_is"] + r["restained"])["share"]
    assert {r["share"] for r in rows} >= {0.0, 0.5, 1.0}


def test_a_second_run_of_other_crops_is_refused():
    first = {"taxonomy": "blood-12", "pad_fraction": 0.25, "nucleus_density": None, "size": 224}
    with pytest.raises(ConfigError, match="shown 192 px"):
        _require_alike(JoinConfig(name="x", first="a", second="b"), first, first | {"size": 128, "grey": True})


def test_runs_that_do_not_belong_together_are_refused(joined, tmp_path):
    for first, second in (("second", "second"), ("first", "first")):
        config = JoinConfig(name="odd", first=str(joined / first), second=str(joined / second))
        with pytest.raises(ConfigError, match="grey"):
            join_classifiers(config, tmp_path / "run", [])
    with pytest.raises(ConfigError, match="nowhere is no training run of task 'classify'"):
        join_classifiers(JoinConfig(name="x", first="nowhere", second="b"), tmp_path / "run", [])
    with pytest.raises(ConfigError, match="already holds a run"):
        join_classifiers(JoinConfig(name="x", first="a", second="b"), joined / "joined", [])

"""`leukoscope adapt --locator`: the bundle's network back in torch, the verdict on held-out fields, resuming."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from data.stopping import stop_after
from PIL import Image, ImageDraw

from leukoscope.cli import main
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import ConfigError, DataError, ModelError
from leukoscope.locate import locate
from leukoscope.models.bundle import find_model, read_bundle
from leukoscope.models.runtime import Session
from leukoscope.types import Field, FieldKey

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.models.torch_locator import ExportedLocator  # noqa: E402
from leukoscope.train import loop  # noqa: E402
from leukoscope.train.adapt import locator_site as site  # noqa: E402
from leukoscope.train.adapt.locator_fields import measure_rulers, tile_photos  # noqa: E402
from leukoscope.train.adapt.locator_network import read_locator_network, write_locator  # noqa: E402


def paint(rng, width=320, height=240):
    """A field with two nucleated cells on a pale ground among rings, and the cells' boxes."""
    picture, boxes = Image.new("RGB", (width, height), (238, 226, 232)), []
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = rng.integers(0, width), rng.integers(0, height)
        draw.ellipse((x, y, x + 42, y + 42), fill=(222, 170, 176), outline=(205, 140, 150))
    for k in range(2):
        x, y, side = 40 + 140 * k + rng.integers(0, 30), rng.integers(20, 120), rng.integers(70, 90)
        draw.ellipse((x, y, x + side, y + side), fill=(200, 185, 225))
        draw.ellipse((x + 12, y + 10, x + side - 14, y + side - 12), fill=(95, 45, 140))
        boxes.append((float(x), float(y), float(x + side), float(y + side)))
    return picture, boxes


def paint_set(folder, *, n=9, patients=3, name="painted", seed=0):
    rng, fields = np.random.default_rng(seed), []
    (folder / "images").mkdir(parents=True)
    for i in range(n):
        picture, boxes = paint(rng)
        picture.save(folder / "images" / f"{name}{i}.png")
        digest = hashlib.sha256((folder / "images" / f"{name}{i}.png").read_bytes()).hexdigest()
        cells = tuple(TruthCell(b, None, "") for b in boxes)
        key = FieldKey(f"{name}{i}", "s", f"p{i % patients}" if patients else "", "c", "blood")
        fields.append(TruthField(key, f"{name}{i}.png", digest, *picture.size, cells))
    write_dataset(Dataset(name, folder / "images", tuple(fields), "CC0", "painted here", "folders"), folder / "set")
    return folder / "set"


@pytest.fixture(scope="module")
def bundle():
    return find_model("blood")["locate"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return paint_set(folder / "a"), paint_set(folder / "b", name="home", seed=1, n=6, patients=0)


@pytest.fixture(scope="module")
def too_wide(bundle, tmp_path_factory):
    """The bundled locator with boxes a fifth too wide, as a model folder."""
    network = read_locator_network(bundle)
    with torch.no_grad():
        network.box.bias[[0, 2]] += 0.35
    folder = tmp_path_factory.mktemp("wide")
    write_locator(bundle, network, folder / "locator", shown=shown(), card_changes={"name": "wide"})
    return folder


@pytest.fixture
def small_steps(monkeypatch):
    """Three steps of two small pictures."""
    whole, small = site.site_config, {"steps": 3, "side": 64, "batch_size": 2}
    monkeypatch.setattr(site, "site_config", lambda b, seed: replace(whole(b, seed=seed), **small))


def shown():
    picture, _ = paint(np.random.default_rng(3), 256, 256)
    return np.array(picture)[None]


def restored(network, groups, weights, config, run, **options):
    """In the place of a training that finds the bundled locator's weights."""
    return {k: v.clone() for k, v in read_locator_network(find_model("blood")["locate"]).state_dict().items()}


def spoilt(network, groups, weights, config, run, **options):
    """In the place of a training that has gone wrong."""
    return {k: v * 0.5 for k, v in network.state_dict().items()}


def test_the_network_of_a_bundle_computes_what_its_graph_does(bundle):
    boxes, scores = Session(bundle).run(pixels=shown())
    with torch.no_grad():
        own_boxes, own_scores = ExportedLocator(read_locator_network(bundle))(torch.from_numpy(shown()))
    sure = scores.ravel() > 0.05
    assert sure.sum() >= 2
    assert np.abs(own_scores.numpy() - scores.ravel()).max() < 1e-5
    assert np.abs(own_boxes.numpy()[sure] - boxes[sure]).max() < 1e-2


def test_changed_weights_are_written_and_read_back(bundle, tmp_path):
    network = read_locator_network(bundle)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1 + 0.02 * torch.randn_like(value))
    once = write_locator(bundle, network, tmp_path / "once", shown=shown(), card_changes={"name": "once"})
    again = read_locator_network(once)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    twice = write_locator(once, again, tmp_path / "twice", shown=shown(), card_changes={})
    assert twice.onnx.stat().st_size == once.onnx.stat().st_size < 1.01 * bundle.onnx.stat().st_size


def test_a_locator_that_states_its_sides_takes_any_once_it_was_adapted(bundle, tmp_path):
    """Bundles of earlier versions do; their boxes were those of single points, too."""
    import onnx

    model = onnx.load(str(bundle.onnx))
    for axis in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 256
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    stated = replace(bundle, path=tmp_path)
    written = write_locator(
        stated, read_locator_network(stated), tmp_path / "new", shown=shown(), card_changes={"name": "ours"}
    )
    assert Session(stated).side_step is None and Session(written).side_step == 32
    assert read_bundle(tmp_path / "new").card == written.card and written.card.name == "ours"


def test_what_is_no_locator_of_ours_is_refused(bundle, tmp_path):
    import onnx

    model = onnx.load(str(bundle.onnx))
    for initializer in model.graph.initializer:
        if initializer.name == "net.detail.0.weight":
            initializer.name = "fused_17"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="can be adapted.*detail"):
        read_locator_network(replace(bundle, path=tmp_path))
    with pytest.raises(ModelError, match="not a locator"):
        read_locator_network(find_model("blood")["classify"])


def test_a_better_locator_is_written_beside_the_other_parts(too_wide, sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(site, "fit_locator", restored)
    command = ["adapt", str(too_wide), "--locator", "--data", str(sets[0]), "--replay", str(sets[1])]
    assert main([*command, "--out", str(tmp_path / "ours")]) == 0
    said = capsys.readouterr().out
    assert "measured on 3 fields held out, by patient" in said and "at home, home: AP50" in said
    card = find_model(tmp_path / "ours")["locate"].card
    assert card.name == "wide, adapted to painted"
    assert card.training["adapted_to"]["n_fields"] == 6 and card.limits[0].startswith("Adapted on 6 fields")
    assert not (tmp_path / "ours" / "locator-training").exists()
    field = Field(FieldKey("f", "s", "p", "c", "blood"), np.asarray(paint(np.random.default_rng(3), 256, 256)[0]))
    widths = [
        np.diff(locate(field, Session(find_model(m)["locate"])).boxes[:2, [0, 2]]).mean()
        for m in (too_wide, tmp_path / "ours")
    ]
    assert widths[1] < 0.9 * widths[0]


@pytest.mark.parametrize("start", ["good", "spoilt"])
def test_a_locator_that_is_not_better_is_not_written(start, too_wide, sets, tmp_path, monkeypatch, capsys):
    """Neither the same weights again nor worse ones."""
    monkeypatch.setattr(site, "fit_locator", restored if start == "good" else spoilt)
    model = "blood" if start == "good" else str(too_wide)
    command = ["adapt", model, "--locator", "--data", str(sets[0]), "--replay", str(sets[1])]
    assert main([*command, "--out", str(tmp_path / "ours")]) == 2
    assert "not better on 3 held out" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_a_loss_at_home_is_refused():
    found = site.Found(*[{"value": 0.9, "low": 0.8, "high": 1.0}] * 4)
    gain = {"value": 0.05, "low": 0.0, "high": 0.1}
    kept = site.LocatorAdapted(6, 12, 3, "patient", found, found, gain, {"home": (1.0, 0.991)})
    assert site._is_better(kept)
    assert not site._is_better(replace(kept, home={"home": (1.0, 0.991), "other": (1.0, 0.98)}))
    assert not site._is_better(replace(kept, gain=gain | {"value": 0.0}))


def test_a_stopped_run_goes_on_to_the_same_weights(too_wide, sets, tmp_path, small_steps, monkeypatch):
    monkeypatch.setattr(site, "_is_better", lambda adapted: True)

    def weights(folder):
        return read_locator_network(find_model(folder)["locate"]).state_dict()

    options = {"replay": [sets[1]]}
    with monkeypatch.context() as often, pytest.raises(KeyboardInterrupt):
        often.setattr(loop, "CHECKPOINT_SECONDS", 0)
        site.adapt_locator(too_wide, sets[0], tmp_path / "ours", progress=stop_after(2), **options)
    with pytest.raises(ConfigError, match="--resume"):
        site.adapt_locator(too_wide, sets[0], tmp_path / "ours", **options)
    with pytest.raises(ConfigError, match="other data"):
        site.adapt_locator(too_wide, sets[1], tmp_path / "ours", resume=True, **options)
    site.adapt_locator(too_wide, sets[0], tmp_path / "ours", resume=True, **options)
    site.adapt_locator(too_wide, sets[0], tmp_path / "once", **options)
    ours, once, start = (weights(folder) for folder in (tmp_path / "ours", tmp_path / "once", too_wide))
    assert all(torch.equal(value, once[name]) for name, value in ours.items())
    assert any(not torch.equal(value, start[name]) for name, value in ours.items())


def test_fields_are_divided_by_patient_and_stated_splits_are_kept(sets):
    dataset = read_dataset(sets[0])
    learnt, held, unit = site.divide(dataset, seed=0)
    assert unit == "patient" and len(learnt.fields) == 6 and len(held.fields) == 3
    assert not {f.key.patient_id for f in learnt.fields} & {f.key.patient_id for f in held.fields}
    one = replace(dataset, fields=tuple(replace(f, key=replace(f.key, patient_id="p")) for f in dataset.fields))
    assert site.divide(one, seed=0)[2] == "photograph"
    stated = tuple(replace(f, split="test" if i < 2 else "train") for i, f in enumerate(dataset.fields))
    learnt, held, _ = site.divide(replace(dataset, fields=stated), seed=0)
    assert [f.key.field_id for f in held.fields] == ["painted0", "painted1"] and len(learnt.fields) == 7
    with pytest.raises(DataError, match="5 fields with a white cell"):
        site.divide(replace(dataset, fields=dataset.fields[:5]), seed=0)


def test_large_fields_are_learnt_from_in_tiles(bundle, tmp_path):
    """Cells of a large photograph keep their size, and those over an edge reach beyond their tile."""
    picture = Image.new("RGB", (1600, 1200), (238, 226, 232))
    cell, boxes = paint(np.random.default_rng(1))
    picture.paste(cell, (100, 100))
    picture.save(tmp_path / "f.png")
    digest = hashlib.sha256((tmp_path / "f.png").read_bytes()).hexdigest()
    cells = tuple(TruthCell(tuple(np.add(b, 100.0)), None, "") for b in boxes)
    truth = TruthField(FieldKey("f", "s", "p", "c", "blood"), "f.png", digest, 1600, 1200, cells)
    write_dataset(Dataset("large", tmp_path, (truth,), "CC0", "", "folders"), tmp_path / "set")
    dataset = read_dataset(tmp_path / "set")
    assert list(measure_rulers(dataset, bundle.card)) == [("p", "s", 1600, 1200)]
    photos = tile_photos(dataset, Session(bundle), {("p", "s", 1600, 1200): 42.0}, 480, seed=0)
    with_cells = [p for p in photos if len(p.boxes)]
    assert with_cells and len(photos) <= 2 * len(with_cells)  # empty ones are no more than the others
    sides = {round(float(b[2] - b[0])) for p in with_cells for b in p.boxes}
    assert sides == {round(b[2] - b[0]) for b in boxes}
    assert max(max(p.pixels.shape) for p in photos) == round(9 * 42.0)


def test_a_picture_that_cant_be_read_is_named(bundle, tmp_path):
    dataset = read_dataset(paint_set(tmp_path, n=6))
    dataset.path(dataset.fields[2]).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"painted2\.png.*take the field out of painted"):
        measure_rulers(dataset, bundle.card)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--locator", "--fraction", "0.5"], "leave the other options out"),
        (["--replay", "x"], "give --locator"),
        (["--resume"], "give --locator"),
    ],
)
def test_options_that_do_not_go_together(options, message, tmp_path, capsys):
    assert main(["adapt", "blood", "--data", str(tmp_path), "--out", str(tmp_path / "o"), *options]) == 2
    assert message in capsys.readouterr().err

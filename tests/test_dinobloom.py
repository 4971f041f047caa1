"""Fine-tuned bundles in eight bits, DinoBloom's published layout through ONNX, and labels coarser than the classes."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_crops import make_crops
from data.make_vit_checkpoint import as_dinobloom, make_dinov2_state

from leukoscope import doctor
from leukoscope.cli import main
from leukoscope.errors import ModelError, TaxonomyError

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("onnx", reason="the export needs the extra: pip install '.[train]'")

from leukoscope.models.bundle import read_bundle  # noqa: E402
from leukoscope.models.quantise import write_int8  # noqa: E402
from leukoscope.models.runtime import Session  # noqa: E402
from leukoscope.models.torch_backbones import build_network  # noqa: E402
from leukoscope.train.crops import bundle as bundles  # noqa: E402
from leukoscope.train.crops.config import FinetuneConfig  # noqa: E402
from leukoscope.train.crops.data import of_one_class, with_class_sets  # noqa: E402
from leukoscope.train.crops.finetune import finetune, predict_features, predict_logits  # noqa: E402

CONFIG = FinetuneConfig(
    name="painted", arch="small", taxonomy="drawn", epochs=6, size=32, batch_size=8, learning_rate=1e-2, head_rate=3e-2,
    augment="none", norms="trained", pad_px=None, pad_fraction=0.2,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finetune(CONFIG, make_crops(36), make_crops(18, seed=1), tmp_path_factory.mktemp("run") / "run")


def outputs(path, crops):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"pixels": crops})


def test_a_transformer_in_the_published_layout_gives_the_same_features_through_onnx(tmp_path):
    """As DinoBloom's files are laid out, of a small width; then in eight bits."""
    pytest.importorskip("transformers", reason="needs the extra: pip install '.[study]'")
    torch.save(as_dinobloom(make_dinov2_state(width=32, depth=2, side=16)), tmp_path / "weights.pth")
    network = build_network("tiny-vit", 3, weights=str(tmp_path / "weights.pth"), size=56).eval()
    crops = make_crops(6, size=56).crops
    bundles.write_onnx(network, tmp_path / "float.onnx", checked=crops[:2])
    logits, features = outputs(tmp_path / "float.onnx", crops)
    assert np.abs(features - predict_features(network, crops)).max() < 1e-4 * np.abs(features).max()
    assert np.abs(logits - predict_logits(network, crops)).max() < 1e-4 * max(1, np.abs(logits).max())
    assert write_int8(tmp_path / "float.onnx", tmp_path / "int8.onnx") == "dynamic"
    less = outputs(tmp_path / "int8.onnx", crops)[1]
    assert 0 < np.abs(features - less).mean() < 0.1 * np.abs(features).mean()


@pytest.mark.parametrize("most_lost", [0.005, -1.0])
def test_a_bundle_is_in_eight_bits_only_where_that_costs_little(most_lost, run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "MOST_LOST", most_lost)
    record = bundles.load_finetuned(run)
    record[1]["config"]["int8"] = "auto"
    monkeypatch.setattr(bundles, "load_finetuned", lambda folder, which: record)
    val = make_crops(18, seed=1)
    out = bundles.export_finetuned(run, tmp_path / "bundle", validation=val)
    bundle = read_bundle(out)  # the card's digest is of the file that is there
    found = bundle.card.training["int8"]
    assert found["kept"] == (most_lost > 0) and found["n_cells"] == 18
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "model.onnx"]
    same = np.abs(Session(bundle).run(pixels=val.crops)[0] - predict_logits(run, val)).max()
    assert (same < 1e-4) == (not found["kept"])


def test_eight_bits_without_onnx_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'leukoscope\[train\]'"):
        write_int8(tmp_path / "a.onnx", tmp_path / "b.onnx")


def test_coarser_labels_teach_what_they_may_be(tmp_path):
    crops = make_crops(36)  # neutrophil, lymphocyte, monocyte by turns
    names = np.where(np.arange(36) % 6 == 0, "granulocyte", crops.class_names)
    coarse = replace(crops, class_names=names, labels=np.where(names == "granulocyte", -1, crops.labels))
    taught = with_class_sets(coarse, {"granulocyte": ["neutrophil", "monocyte"], "absent": ["monocyte"]})
    rows = names == "granulocyte"
    assert taught.extras["allowed"][rows].tolist() == [[1, 0, 1]] * 6 and (taught.labels[rows] == 0).all()
    assert taught.extras["allowed"].sum() == 30 + 12
    assert len(of_one_class(taught)) == 30 and of_one_class(crops) is crops
    # Half of the neutrophils are labelled so, and no monocyte: what they teach must not be "monocyte".
    run = finetune(CONFIG, taught, make_crops(18, seed=1), tmp_path / "run")
    assert (predict_logits(run, make_crops(18, seed=2)).argmax(1) == make_crops(18, seed=2).labels).mean() > 0.9
    frozen = replace(CONFIG, head_epochs=2, head_augment=False, epochs=1)  # features kept from the frozen stage
    finetune(frozen, taught, make_crops(18, seed=1), tmp_path / "frozen")
    with pytest.raises(TaxonomyError, match="class_sets names band"):
        with_class_sets(coarse, {"granulocyte": ["band"]})


def test_the_doctor_says_whether_dinobloom_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "no weights/DinoBloom-S.pth here" in said.replace("\\", "/") and doctor.DINOBLOOM_FROM in said
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "DinoBloom-S.pth").write_bytes(bytes(2_000_000))
    assert main(["doctor"]) == 0
    assert "DinoBloom-S.pth (2 MB)" in capsys.readouterr().out


def test_the_configuration_trains_the_shipped_classes():
    from leukoscope.taxonomy import read_taxonomy
    from leukoscope.train.config import build_config, read_toml

    path = Path(__file__).resolve().parent.parent / "configs" / "dinobloom-s.toml"
    values = read_toml(path)
    assert values.pop("task") == "finetune"
    config = build_config(FinetuneConfig, values, path)
    names = set(read_taxonomy(config.taxonomy).names) - set(config.exclude)
    assert len(names) == 12 and {m for members in config.class_sets.values() for m in members} <= names
    assert config.int8 == "auto" and config.head_epochs and config.epochs

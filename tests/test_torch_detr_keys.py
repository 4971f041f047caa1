"""Published RT-DETRv2 weights by path: both layouts, every key accounted for, a mismatch refused."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from leukoscope.errors import ModelError  # noqa: E402
from leukoscope.models.torch_detr import Detr  # noqa: E402
from leukoscope.models.torch_detr_keys import load_published  # noqa: E402

# Our names to the authors', as their networks spell them: the other way round than the loader's own table.
TO_AUTHORS = (
    (r"^model\.backbone\.model\.embedder\.embedder\.(\d)\.", lambda m: f"backbone.conv1.conv1_{int(m[1]) + 1}."),
    (r"^model\.backbone\.model\.encoder\.stages\.(\d)\.layers\.(\d)\.layer\.(\d)\.",
     lambda m: f"backbone.res_layers.{m[1]}.blocks.{m[2]}.branch2{'abc'[int(m[3])]}."),
    (r"^model\.backbone\.model\.encoder\.stages\.(\d)\.layers\.0\.shortcut\.1\.",
     r"backbone.res_layers.\1.blocks.0.short.conv."),
    (r"^model\.backbone\.model\.encoder\.stages\.(\d)\.layers\.0\.shortcut\.",
     r"backbone.res_layers.\1.blocks.0.short."),
    (r"^(backbone.*)\.convolution\.", r"\1.conv."),
    (r"^(backbone.*)\.normalization\.", r"\1.norm."),
    (r"^model\.(encoder|decoder)_input_proj\.(\d)\.0\.", r"\1.input_proj.\2.conv."),
    (r"^model\.(encoder|decoder)_input_proj\.(\d)\.1\.", r"\1.input_proj.\2.norm."),
    (r"^model\.encoder\.aifi\.0\.layers\.(\d)\.self_attn_layer_norm", r"encoder.encoder.0.layers.\1.norm1"),
    (r"^model\.encoder\.aifi\.0\.layers\.(\d)\.final_layer_norm", r"encoder.encoder.0.layers.\1.norm2"),
    (r"^model\.encoder\.aifi\.0\.layers\.", "encoder.encoder.0.layers."),
    (r"^model\.encoder\.", "encoder."),
    (r"^model\.decoder\.layers\.(\d)\.self_attn_layer_norm", r"decoder.decoder.layers.\1.norm1"),
    (r"^model\.decoder\.layers\.(\d)\.encoder_attn_layer_norm", r"decoder.decoder.layers.\1.norm2"),
    (r"^model\.decoder\.layers\.(\d)\.final_layer_norm", r"decoder.decoder.layers.\1.norm3"),
    (r"^model\.decoder\.layers\.", "decoder.decoder.layers."),
    (r"^model\.decoder\.class_embed\.", "decoder.dec_score_head."),
    (r"^model\.decoder\.bbox_embed\.", "decoder.dec_bbox_head."),
    (r"^model\.decoder\.query_pos_head", "decoder.query_pos_head"),
    (r"^model\.enc_output\.0\.", "decoder.enc_output.proj."),
    (r"^model\.enc_output\.1\.", "decoder.enc_output.norm."),
    (r"^model\.(denoising_class_embed|enc_score_head|enc_bbox_head)", r"decoder.\1"),
    (r"\.encoder_attn\.n_points_scale$", ".cross_attn.num_points_scale"),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.fc([12])\.", r".linear\1."),
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = Detr("rtdetrv2-tiny", 3, pretrained=False).net
    for key, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1 if "running_var" in key else torch.randn_like(value))
    return net


def fresh(n_classes=3):
    torch.manual_seed(9)
    return Detr("rtdetrv2-tiny", n_classes, pretrained=False).net


def one_copy(state):
    return {k: v for k, v in state.items() if not re.match(r"(class|bbox)_embed\.", k)}


def as_authors(state):
    """The state in the authors' own layout: their names, attention projections fused, two buffers more."""
    fused, named = {}, {}
    for key, value in one_copy(state).items():
        for ours, theirs in TO_AUTHORS:
            key = re.sub(ours, theirs, key)
        if (part := re.match(r"(.*self_attn)\.([qkv])_proj\.(weight|bias)$", key)) is not None:
            fused.setdefault(f"{part[1]}.in_proj_{part[3]}", {})[part[2]] = value
        else:
            named[key] = value
    named |= {key: torch.cat([parts[p] for p in "qkv"]) for key, parts in fused.items()}
    assert not any(k.startswith("model.") for k in named)
    return named | {"decoder.anchors": torch.zeros(1, 5, 4), "decoder.valid_mask": torch.zeros(1, 5, 1)}


def same(net, state):
    return all(torch.equal(net.state_dict()[k], v) for k, v in state.items())


def test_the_authors_layout_loads(network, tmp_path):
    """As DEIM keeps it: {"ema": {"module": …}, "model": …}; the averaged weights are taken."""
    state = as_authors(network.state_dict())
    assert "backbone.res_layers.1.blocks.0.short.conv.conv.weight" in state
    assert "decoder.decoder.layers.1.self_attn.in_proj_weight" in state
    wrong = {k: v * 0 for k, v in state.items()}
    torch.save({"model": wrong, "ema": {"module": state, "updates": 7}, "last_epoch": 3}, tmp_path / "deim.pth")
    net = fresh()
    loaded = load_published(net, tmp_path / "deim.pth")
    assert loaded.layout == "authors" and same(net, network.state_dict())
    assert loaded.left_out == ("decoder.anchors", "decoder.valid_mask") and not loaded.new_heads


def test_transformers_layout_loads_old_names_and_new(network, tmp_path):
    from safetensors.torch import save_file

    state = {k: v.clone() for k, v in one_copy(network.state_dict()).items()}
    older = {
        k.replace("o_proj", "out_proj").replace(".mlp.fc", ".fc").replace("encoder.aifi.", "encoder.encoder."): v
        for k, v in state.items()
        if "num_batches_tracked" not in k  # their frozen norms count none
    }
    outside = {k.replace("model.decoder.", "") if "_embed." in k else k: v for k, v in older.items()}
    for name, layout in {"new": state, "older": older, "outside": outside}.items():
        (tmp_path / name).mkdir()
        save_file(layout, tmp_path / name / "model.safetensors")
        net, expected = fresh(), {k: v for k, v in state.items() if "num_batches" not in k}
        assert not same(net, expected)
        loaded = load_published(net, tmp_path / name)
        assert loaded.layout == "transformers" and loaded.loaded >= len(expected)
        assert same(net, expected), name


def test_heads_of_another_number_of_classes_start_anew_and_are_named(network, tmp_path):
    torch.save(as_authors(network.state_dict()), tmp_path / "w.pth")
    net = fresh(5)
    before = net.state_dict()["model.enc_score_head.weight"].clone()
    loaded = load_published(net, tmp_path / "w.pth")
    assert torch.equal(net.state_dict()["model.enc_score_head.weight"], before)
    assert "model.decoder.class_embed.0.weight" in loaded.new_heads
    assert "model.denoising_class_embed.weight" in loaded.new_heads and len(loaded.new_heads) == 7
    assert same(net, {"model.enc_output.0.weight": network.state_dict()["model.enc_output.0.weight"]})


def test_a_mismatch_is_refused_and_leaves_the_network_alone(network, tmp_path):
    state = as_authors(network.state_dict())
    net = fresh()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    short = {k: v for k, v in state.items() if k != "decoder.enc_output.proj.bias"}
    extra = state | {"decoder.another.weight": torch.zeros(2)}
    wide = state | {"encoder.input_proj.0.conv.weight": torch.zeros(40, 16, 1, 1)}
    for name, wrong, said in (
        ("short", short, "model.enc_output.0.bias"),
        ("extra", extra, "decoder.another.weight"),
        ("wide", wide, "model.encoder_input_proj.0.0.weight"),
    ):
        torch.save(wrong, tmp_path / f"{name}.pth")
        with pytest.raises(ModelError, match=re.escape(said)):
            load_published(net, tmp_path / f"{name}.pth")
    assert same(net, before)


def test_pickled_code_is_never_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"model": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(ModelError, match="plain tensors"):
        load_published(fresh(), tmp_path / "harm.pth")
    with pytest.raises(ModelError, match="no weights at"):
        load_published(fresh(), tmp_path / "none.pth")

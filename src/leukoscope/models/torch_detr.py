"""Detection transformers of `transformers` as this project uses them: pixels in, boxes and class scores out.

RT-DETRv2 (Lv et al. 2024) as published and as DEIM changed it (Huang et al. 2025), on ResNet-vd backbones, on
EfficientNet-Lite0 with its offline ImageNet weights, and in a tiny size for tests; DEIMv2 (the same authors, 2025) on
HGNetV2, with its own matching-aware loss.
"""

import torch
from torch import Tensor, nn

from leukoscope.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISATIONS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),  # PCM, section 2.3.1
    "unit": ((0.0,) * 3, (1.0,) * 3),  # what the published RT-DETRv2 and DEIM checkpoints were trained with
    "lite0": ((127 / 255,) * 3, (128 / 255,) * 3),
}

_R18 = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
_R34 = {"hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3], "layer_type": "basic"}
_SLIM = {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5}
# Lite0's maps at strides 8, 16 and 32; the placeholder is thrown away when the real backbone is put in.
_LITE0 = {"embedding_size": 8, "hidden_sizes": [16, 40, 112, 320], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def _narrow(width: int, *, layers: int, queries: int, points: int = 4) -> dict:
    """A slimmer encoder and decoder than the published ones, for processors."""
    return {
        "d_model": width,
        "encoder_hidden_dim": width,
        "encoder_ffn_dim": 2 * width,
        "decoder_ffn_dim": 2 * width,
        "decoder_in_channels": [width] * 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "decoder_layers": layers,
        "decoder_n_points": points,
        "hidden_expansion": 0.5,
        "num_queries": queries,
        "num_denoising": 20,
    }


# Backbone and network settings. The ResNet sizes are the published checkpoints' own.
RTDETR_SIZES = {
    "rtdetrv2-tiny": (
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"},
        {"encoder_in_channels": [16, 24, 32], **_narrow(32, layers=2, queries=20, points=2)},
    ),
    "rtdetrv2-lite0": (_LITE0, {"encoder_in_channels": [40, 112, 320], **_narrow(64, layers=3, queries=60)}),
    "rtdetrv2-r18": (_R18, {**_SLIM, "decoder_layers": 3}),
    "rtdetrv2-r34": (_R34, {**_SLIM, "decoder_layers": 4}),
    "rtdetrv2-r50m": ({}, {"hidden_expansion": 0.5}),
    "rtdetrv2-r50": ({}, {}),
    "rtdetrv2-r101": (
        {"depths": [3, 4, 23, 3]},
        {"encoder_ffn_dim": 2048, "encoder_hidden_dim": 384, "decoder_in_channels": [384, 384, 384]},
    ),
}
# DEIM's own RT-DETRv2: a three-layer query embedding and SiLU in decoder and heads (its configs/base/rt_deim.yml).
DEIM = "deim-"
RTDETR_SIZES |= {
    f"{DEIM}{name}": (resnet, {**settings, "decoder_activation_function": "silu"})
    for name, (resnet, settings) in RTDETR_SIZES.items()
    if name != "rtdetrv2-lite0"
}
# Decoder layers that answer outside training, where not all of them do: r50m is published so (eval_idx: 2).
ANSWERING_LAYERS = {"rtdetrv2-r50m": 3, f"{DEIM}rtdetrv2-r50m": 3}


def _hgnet(stem: int, outer: list[int], *, inner: list[int], blocks: list[int], layers: int) -> dict:
    """An HGNetV2 of four stages: channels of the stem, of each stage's output and of its middle, blocks and layers."""
    return {
        "stem_channels": [3, stem, stem],
        "stage_in_channels": [stem, *outer[:-1]],
        "stage_mid_channels": inner,
        "stage_out_channels": outer,
        "hidden_sizes": outer,
        "stage_num_blocks": blocks,
        "stage_numb_of_layers": [layers] * 4,
    }


_HGNET_TINY = _hgnet(8, [16, 16, 24, 32], inner=[8, 8, 16, 16], blocks=[1, 1, 1, 1], layers=1)
# DEIMv2's N size as its authors publish it (HGNetV2-B0, two levels); `tiny` is for tests.
_HGNET_N = _hgnet(16, [64, 256, 512, 1024], inner=[16, 32, 64, 128], blocks=[1, 1, 2, 1], layers=3)
DEIMV2_SIZES = {
    "deimv2-tiny": (
        _HGNET_TINY,
        {"encoder_in_channels": [16, 24, 32], "max_num_bins": 8, **_narrow(32, layers=2, queries=20, points=2)},
    ),
    "deimv2-n": (
        {**_HGNET_N, "use_learnable_affine_block": True},
        {
            "encoder_in_channels": [256, 512, 1024],
            "max_num_bins": 32,
            **_narrow(128, layers=3, queries=300),
            "num_denoising": 100,
        },
    ),
}
ARCHITECTURES = (*RTDETR_SIZES, *DEIMV2_SIZES)


class Detr(nn.Module):
    """forward(pixels (B, S, S, 3) uint8 or float 0 to 255 RGB, labels=None) → transformers' output.

    labels  per picture {"class_labels" (n,) int64, "boxes" (n, 4) centre x, y, width, height in shares of S}; n may
            be 0. The output has logits (B, Q, C) and pred_boxes (B, Q, 4), with labels also `loss` and `loss_dict`.
    """

    def __init__(self, arch: str, n_classes: int, *, normalise: str = "imagenet", pretrained: bool = True) -> None:
        """`pretrained`: for rtdetrv2-lite0 alone, whose backbone's ImageNet weights are installed."""
        super().__init__()
        if normalise not in NORMALISATIONS:
            raise ConfigError(f"normalise must be one of {', '.join(NORMALISATIONS)}, got {normalise!r}")
        if n_classes < 1:
            raise ConfigError(f"a detector needs at least one class, got {n_classes}")
        self.arch, self.n_classes = arch, n_classes
        self.net = _build(arch, n_classes, pretrained=pretrained)
        mean, std = NORMALISATIONS[normalise]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pixels: Tensor, labels: list[dict] | None = None):
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.net(pixel_values=x, labels=labels)

    @property
    def backbone(self) -> nn.Module:
        """What learns at the backbone's own rate."""
        model = self.net.model
        return model.backbone if self.arch in RTDETR_SIZES else model.conv_encoder

    @property
    def encoder(self) -> nn.Module:
        """What joins the backbone's maps."""
        return self.net.model.encoder


class ExportedDetr(nn.Module):
    """The graph that ships: pixels (1, H, W, 3) uint8 RGB to boxes (Q, 4) px xyxy and scores (Q, C) in [0, 1], best
    box first. With `columns` the scores are (Q,), the best of those classes: a locator's."""

    def __init__(self, net: nn.Module, *, columns: list[int] | None = None) -> None:
        super().__init__()
        self.net, self.columns = net, columns

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        height, width = pixels.shape[1], pixels.shape[2]
        out = self.net(pixels)
        scores, (cx, cy, w, h) = out.logits[0].sigmoid(), out.pred_boxes[0].unbind(1)
        x0, x1 = ((cx - w / 2) * width).clamp(0, width), ((cx + w / 2) * width).clamp(0, width)
        y0, y1 = ((cy - h / 2) * height).clamp(0, height), ((cy + h / 2) * height).clamp(0, height)
        return best_first(torch.stack([x0, y0, x1, y1], 1), scores, self.columns)


def best_first(boxes: Tensor, scores: Tensor, columns: list[int] | None, most: int = 300) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and scores (N, C) ordered by their best class, at most `most`; with `columns`, scores (N,)."""
    if columns is not None:
        scores = scores[:, columns]
    best = scores.max(1).values
    best, order = best.topk(min(most, best.shape[0]))
    return boxes[order], best if columns is not None else scores[order]


class SiluHead(nn.Module):
    """Linear layers with SiLU between them, under the names of transformers' heads, which have ReLU."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = nn.functional.silu(layer(x))
        return self.layers[-1](x)


class AnsweringLayers(nn.ModuleList):
    """Decoder layers of which the first `answering` run outside training; all have their weights."""

    answering: int

    def __iter__(self):
        layers = list(super().__iter__())
        return iter(layers if self.training else layers[: self.answering])


class LiteBackbone(nn.Module):
    """EfficientNet-Lite0 in the place of RT-DETRv2's ResNet: maps at strides 8, 16 and 32 with 40, 112, 320 channels.

    Its batch normalisation is folded away with ImageNet's statistics, as in the classifier and the locator.
    """

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        from leukoscope.models.torch_lite import CHANNELS, Lite0Features, fold_norms

        self.features = Lite0Features(pretrained=pretrained)
        fold_norms(self.features)
        self.intermediate_channel_sizes = list(CHANNELS[1:])

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(feature, None) for feature in self.features(pixel_values)[1:]]


def _build(arch: str, n_classes: int, *, pretrained: bool) -> nn.Module:
    try:
        import transformers
    except ImportError:
        raise ConfigError("detection transformers need the extra: pip install 'leukoscope[study]'") from None
    # The decoder reads its own heads only; untied, each layer has its own, as in the published checkpoints.
    common = {"num_labels": n_classes, "freeze_backbone_batch_norms": False, "tie_word_embeddings": False}
    if arch in RTDETR_SIZES:
        resnet, settings = RTDETR_SIZES[arch]
        backbone = transformers.RTDetrResNetConfig(out_indices=[2, 3, 4], **resnet)
        net = transformers.RTDetrV2ForObjectDetection(
            transformers.RTDetrV2Config(backbone_config=backbone, **settings, **common)
        )
    elif arch in DEIMV2_SIZES:
        hgnet, settings = DEIMV2_SIZES[arch]
        backbone = transformers.HGNetV2Config(out_indices=[2, 3, 4], **hgnet)
        net = transformers.Deimv2ForObjectDetection(
            transformers.Deimv2Config(backbone_config=backbone, **settings, **common)
        )
    else:
        raise ConfigError(f"arch must be one of {', '.join(ARCHITECTURES)}, got {arch!r}")
    net.class_embed, net.bbox_embed = net.model.decoder.class_embed, net.model.decoder.bbox_embed  # one copy
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # drawn around 0 by transformers: no signal would pass at the start
            nn.init.ones_(module.weight)
    if arch.startswith(DEIM):
        _put_deim_heads(net)
    if arch in ANSWERING_LAYERS:
        net.model.decoder.layers = AnsweringLayers(net.model.decoder.layers)
        net.model.decoder.layers.answering = ANSWERING_LAYERS[arch]
    if arch == "rtdetrv2-lite0":
        net.model.backbone = LiteBackbone(pretrained=pretrained)
    return net


def _put_deim_heads(net: nn.Module) -> None:
    """DEIM's heads in the place of RT-DETRv2's, each of a box starting at no change."""
    width, decoder = net.config.d_model, net.model.decoder
    decoder.query_pos_head = SiluHead(4, width, width, width)
    net.model.enc_bbox_head = SiluHead(width, width, width, 4)
    for i in range(len(decoder.bbox_embed)):
        decoder.bbox_embed[i] = SiluHead(width, width, width, 4)
    for head in (net.model.enc_bbox_head, *decoder.bbox_embed):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
    for layer in decoder.query_pos_head.layers[:2]:
        nn.init.xavier_uniform_(layer.weight)

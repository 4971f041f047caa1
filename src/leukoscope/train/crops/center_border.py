"""Centre-border regularisation: a call must come from the cell in the middle of its crop, not from its neighbours.

Two extra losses for `finetune`, each selectable. `ring_evidence` penalises what the border of the feature map
contributes to a class; `border_swap` shows every cell once more with another crop's border (and, moved there, that
crop's cell) and asks for the same answer. docs/decisions/0017 says what the paper leaves open here.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from leukoscope.errors import ConfigError

METHODS = ("ring", "swap")
ExtraLoss = Callable[[torch.nn.Module, dict, torch.Tensor, torch.Tensor], torch.Tensor]
_SOFT = 0.04  # of the side: how soft the edge between kept middle and other border is


def center_border_losses(
    methods: tuple[str, ...], *, ring: float = 0.15, ring_weight: float = 0.5, swap_weight: float = 1.0, seed: int = 0
) -> tuple[ExtraLoss, ...]:
    """The extra losses of the chosen methods ("ring", "swap"); `ring`: width of the border as a share of the side."""
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not 0 < ring < 0.5:
        raise ConfigError(
            f"center_border must name some of {', '.join(METHODS)} and ring lie between 0 and 0.5, "
            f"got {', '.join(methods) or 'none'} and {ring}"
        )
    losses = {"ring": ring_evidence(ring, weight=ring_weight), "swap": border_swap(ring, weight=swap_weight, seed=seed)}
    return tuple(losses[m] for m in METHODS if m in methods)


def ring_shares(height: int, width: int, ring: float) -> torch.Tensor:
    """(h, w) share of each place of a feature map that lies in the border ring of the crop, in [0, 1]."""

    def inside(n: int) -> torch.Tensor:
        edges = torch.linspace(0, 1, n + 1)
        return ((edges[1:].clamp(max=1 - ring) - edges[:-1].clamp(min=ring)).clamp_min(0)) * n

    return 1 - inside(height)[:, None] * inside(width)[None, :]


def ring_share(network: torch.nn.Module, feature_map: torch.Tensor, columns: torch.Tensor, ring: float) -> torch.Tensor:
    """(N,) share of a class's evidence that stands in the border ring, in [0, 1].

    A place's evidence is what its features add to the class's logit beyond the mean over classes, for the logit is
    the mean over places of head(feature) (class activation maps, Zhou et al., CVPR 2016); its size counts, for or
    against. feature_map (N, D, h, w); columns (N,) the class asked about.
    """
    weight = network.head.weight  # (C, D)
    of_class = weight[columns] - weight.mean(0)  # (N, D)
    evidence = torch.einsum("nd,ndhw->nhw", of_class, feature_map).abs()
    shares = ring_shares(*evidence.shape[1:], ring).to(evidence)
    return (evidence * shares).sum((1, 2)) / evidence.sum((1, 2)).clamp_min(1e-6)


def ring_evidence(ring: float, *, weight: float) -> ExtraLoss:
    """Penalise the share of evidence for the called class that stands in the ring (see `ring_share`)."""

    def loss(network: torch.nn.Module, batch: dict, feature_map: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return weight * ring_share(network, feature_map, logits.detach().argmax(1), ring).mean()

    return loss


def border_swap(ring: float, *, weight: float, seed: int = 0) -> ExtraLoss:
    """The distance between the answers for a crop and for the same cell inside another crop's border.

    The other border is that of a crop of another class in the batch, moved by about half a side in a random direction,
    so that most of the time it brings a whole neighbour. What is kept is the cell's own mask where the batch brings
    masks (extras["masks"]), else the disc inside the ring. The distance is the symmetric Kullback-Leibler divergence;
    where the label is known, its cross-entropy under the other border is added. Draws follow the batch's rows and
    `seed`, so a resumed run sees the same ones.
    """

    def loss(network: torch.nn.Module, batch: dict, feature_map: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        pixels = torch.as_tensor(batch["pixels"]).float()
        n = len(pixels)
        if n < 2:
            return logits.sum() * 0.0
        rows = torch.as_tensor(batch["rows"]).long()
        rng = torch.Generator().manual_seed((int(rows.sum()) * 7919 + int(rows[0]) + seed) % 2**31)
        masks = batch.get("extras", {}).get("masks")
        masks = None if masks is None else torch.as_tensor(masks)
        donors = choose_donors(torch.as_tensor(batch["labels"]).cpu(), rng)
        swapped = swap_borders(pixels, masks, donors, ring=ring, rng=rng)
        other = network(swapped)
        log_p, log_q = F.log_softmax(logits, 1), F.log_softmax(other, 1)
        apart = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).mean()
        labels = torch.as_tensor(batch["labels"]).to(other.device)
        known = labels >= 0
        named = F.cross_entropy(other[known], labels[known]) if known.any() else other.sum() * 0.0
        return weight * (apart + named)

    return loss


def choose_donors(labels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """(N,) the row whose picture each crop's border is taken from: one of another class where the batch has any, for a
    neighbour of the same class asks nothing; never the crop itself. labels (N,), -1 where unknown; N at least 2."""
    n = len(labels)
    itself = torch.eye(n, dtype=torch.bool)
    other = (labels[:, None] != labels[None, :]) | ((labels < 0)[:, None] & ~itself)
    allowed = torch.where(other.any(1, keepdim=True), other, ~itself)
    return torch.multinomial(allowed.float(), 1, generator=rng)[:, 0]


def swap_borders(
    pixels: torch.Tensor, masks: torch.Tensor | None, donors: torch.Tensor, *, ring: float, rng: torch.Generator
) -> torch.Tensor:
    """Each crop's middle inside the moved picture of another: pixels (N, S, S, 3) float, returned alike.

    masks   (N, S, S), above 0 on the cell; rows without any such pixel, and None, keep the disc inside the ring
    donors  (N,) row of the other picture
    """
    n, side = len(pixels), pixels.shape[1]
    kept = _disc(side, ring).to(pixels)[None].expand(n, -1, -1)
    if masks is not None:
        inside = (masks.to(pixels.device) > 0).float()
        wide = max(1, round(_SOFT * side)) * 2 + 1
        near = F.max_pool2d(inside[:, None], wide, stride=1, padding=wide // 2)
        near = F.avg_pool2d(near, wide, stride=1, padding=wide // 2, count_include_pad=False)[:, 0]
        kept = torch.where(inside.flatten(1).any(1)[:, None, None], near, kept)
    moved = torch.empty_like(pixels)
    angles = torch.rand(n, generator=rng) * 2 * torch.pi
    reach = 0.35 + 0.25 * torch.rand(n, generator=rng)
    for i in range(n):
        dx, dy = float(torch.cos(angles[i]) * reach[i]), float(torch.sin(angles[i]) * reach[i])
        moved[i] = _moved(pixels[donors[i]], round(dy * side), round(dx * side))
    return kept[..., None] * pixels + (1 - kept[..., None]) * moved


def _moved(crop: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """A crop (S, S, 3) moved by whole pixels; what it leaves open is filled with its own mirrored border."""
    side = crop.shape[0]
    places = torch.arange(side)

    def source(shift: int) -> torch.Tensor:
        place = (places - shift) % (2 * side)
        return torch.where(place < side, place, 2 * side - 1 - place).to(crop.device)

    return crop[source(down)][:, source(right)]


def _disc(side: int, ring: float) -> torch.Tensor:
    """(S, S) in [0, 1]: 1 in the disc that the ring leaves, falling softly to 0."""
    places = (torch.arange(side) + 0.5) / side - 0.5
    radius = torch.sqrt(places[:, None] ** 2 + places[None, :] ** 2)
    return ((0.5 - ring - radius) / _SOFT + 0.5).clamp(0, 1)

"""Published RT-DETRv2 weights by path: transformers' layout and the authors' own, every key accounted for.

transformers' files (a folder with `model.safetensors`, or that file, or a `.bin`) name their keys `model.…`; those
written before transformers 5 call four parts by older names. RT-DETR's and DEIM's own `.pth` hold a dictionary with
`ema` → `module` (or `model`), names `backbone.…`, `encoder.…`, `decoder.…`, and one fused input projection an
attention. `detr_names.toml` has what is called otherwise.
"""

import pickle
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from leukoscope.errors import UNREADABLE, ModelError, in_short
from leukoscope.models.torch_detr import DEIM, RTDETR_SIZES

# Parts whose size is the number of classes: left as they are where that differs, and said so.
CLASS_PARTS = r"class_embed\.\d+\.(weight|bias)$|enc_score_head\.(weight|bias)$|denoising_class_embed\.weight$"
COMPUTED = r"(^|\.)(anchors|valid_mask|num_batches_tracked)$"  # made anew by the network

_RENAMED = tomllib.loads((files("leukoscope.models") / "detr_names.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """What became of a file's keys: `loaded` of them; `left_out` computed anew; `new_heads` of the network that the
    file holds for another number of classes."""

    layout: str
    loaded: int
    left_out: tuple[str, ...]
    new_heads: tuple[str, ...]


def arch_of_file(arch: str, path: str | Path) -> str:
    """The architecture of a file of RT-DETRv2 weights, of the size that `arch` names: DEIM's own where its query
    embedding has three layers, else the published one."""
    size = arch.removeprefix(DEIM)
    is_deim = any(re.search(r"query_pos_head\.layers\.2\.", k) for k in read_weights(path))
    return f"{DEIM}{size}" if is_deim and f"{DEIM}{size}" in RTDETR_SIZES else size


def load_published(net: nn.Module, path: str | Path) -> LoadedKeys:
    """Load published weights into `Detr.net`, an RT-DETRv2 of the same size; returns what became of every key.

    Tensors only are read. Raises ModelError, which names keys, when the file holds one that the network has no place
    for, lacks one, or holds one of another shape (but for class heads of another number of classes).
    """
    state = read_weights(path)
    layout = "transformers" if any(k.startswith("model.") for k in state) else "authors"
    ours = net.state_dict()
    named = _from_transformers(state, ours) if layout == "transformers" else _from_authors(state)
    left_out = sorted(k for k in named if re.search(COMPUTED, k) and k not in ours)
    named = {k: v for k, v in named.items() if k not in left_out}
    named = {_one_copy(k, ours): v for k, v in named.items()}
    wanted = {k for k in ours if not re.search(COMPUTED, k) and _one_copy(k, ours) == k}
    unknown = sorted(set(named) - set(ours))
    missing = sorted(wanted - set(named))
    other = sorted(k for k in set(named) & set(ours) if named[k].shape != ours[k].shape)
    heads = tuple(k for k in other if re.search(CLASS_PARTS, k))
    wrong = [k for k in other if k not in heads]
    if unknown or missing or wrong:
        raise ModelError(
            f"{path} does not fit this network (layout {layout}): {len(unknown)} keys without a place"
            f"{_some(unknown)}, {len(missing)} missing{_some(missing)}, {len(wrong)} of another shape{_some(wrong)}; "
            f"name the architecture that the file is of"
        )
    kept = {k: v for k, v in named.items() if k not in heads}
    net.load_state_dict(kept, strict=False)
    return LoadedKeys(layout, len(kept), tuple(left_out), heads)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.bin`, `.pt` or `.pth` file, or of a folder with `model.safetensors`."""
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"no weights at {path}: expected a .safetensors, .bin, .pt or .pth file, or a folder of one")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, *UNREADABLE) as error:  # no archive, or code
        raise ModelError(f"{path} can't be read as plain tensors: {in_short(error)}") from None
    for key in ("ema", "module", "model", "state_dict"):  # DEIM keeps {"ema": {"module": …}, "model": …}
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no flat dictionary of tensors (looked under ema, module, model, state_dict)")
    return {k.removeprefix("module."): v for k, v in state.items()}


def _from_transformers(state: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key if key in ours else _renamed(key, "older"): value for key, value in state.items()}


def _from_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, value in state.items():
        key = _renamed(name, "authors")
        if (fused := re.search(r"^(.*self_attn)\.in_proj_(weight|bias)$", key)) is not None:
            for part, piece in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                named[f"{fused[1]}.{part}.{fused[2]}"] = piece
        else:
            named[key] = value
    return named


def _renamed(key: str, layout: str) -> str:
    for theirs, ours in _RENAMED[layout]:
        key = re.sub(theirs, ours, key)
    return key


def _one_copy(key: str, ours: dict[str, Tensor]) -> str:
    """The heads stand in the decoder; files of transformers hold them there, beside it, or in both places."""
    inside = f"model.decoder.{key}"
    return inside if re.match(r"(class|bbox)_embed\.", key) and inside in ours else key


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})" if keys else ""

"""Published weights into our networks: read a file without running code, and account for every key of it."""

import pickle
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from leukoscope.errors import UNREADABLE, ModelError, in_short


def read_weights(path: str | Path) -> dict:
    """What a weights file holds: `.safetensors`, or a torch file of tensors and plain types.

    A torch file that needs more than that to be unpickled (code) is refused, as is what is no weights file.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} can't be read as safetensors: {error}") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, AssertionError, *UNREADABLE) as error:
        reason = in_short(error)
        raise ModelError(
            f"{path} can't be read as weights: expected tensors and plain types only (nothing that runs code); {reason}"
        ) from None
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds {type(state).__name__}, expected a dictionary of tensors by name")
    return state


def tensors_only(state: dict, where: str) -> dict[str, torch.Tensor]:
    """The state, checked to be tensors by name; half precision becomes float32."""
    odd = [k for k, v in state.items() if not isinstance(v, torch.Tensor)]
    if odd:
        raise ModelError(f"{where}: expected tensors by name, got something else under {_few(odd)}")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_exactly(module: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """Load a state whose keys and shapes are the module's own; ModelError names every key that is not."""
    expected = module.state_dict()
    # Counters of batch normalisation: older files have none, and no output depends on them.
    optional = {k for k in expected if k.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(state) - optional)
    unknown = sorted(set(state) - set(expected))
    shapes = [
        f"{k}: {tuple(v.shape)} for {tuple(expected[k].shape)}"
        for k, v in state.items()
        if k in expected and v.shape != expected[k].shape
    ]
    if missing or unknown or shapes:
        raise ModelError(
            f"{where} does not fit this network: {len(missing)} keys missing ({_few(missing)}), "
            f"{len(unknown)} unknown ({_few(unknown)}), {len(shapes)} of another shape ({_few(shapes)}); "
            f"choose the arch that the file was made for"
        )
    module.load_state_dict(state, strict=False)  # only the counters may be absent


def leave_out(state: dict[str, torch.Tensor], prefixes: Iterable[str]) -> dict[str, torch.Tensor]:
    """The state without the entries whose names begin with one of `prefixes` (heads that are not used here)."""
    prefixes = tuple(prefixes)
    return {k: v for k, v in state.items() if not k.startswith(prefixes)}


def without_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The state with `prefix` taken off the names that have it."""
    return {k.removeprefix(prefix): v for k, v in state.items()}


def load_hub_model(kind: type, name: str, **options: object) -> nn.Module:
    """A `transformers` model by hub name or from a folder saved by it; ModelError says why it can't be had."""
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no weights {name!r}: expected a file, a folder saved by transformers, or a hub name that can be "
            f"reached; {str(error).splitlines()[0]}"
        ) from None


def hub_file(name: str, file: str) -> Path:
    """One file of a hub repository, downloaded or from the local cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(name, file))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(f"can't get {file} of {name!r}: {str(error).splitlines()[0]}") from None


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:4]) or "none"
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")

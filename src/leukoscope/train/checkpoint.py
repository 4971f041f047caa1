"""Checkpoints that survive being killed: written beside the old one, then put in its place in one step."""

from __future__ import annotations

from pathlib import Path

import torch

from leukoscope.errors import ConfigError


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a checkpoint of tensors and plain types; a kill in the middle leaves the old one whole."""
    path = Path(path)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: str | Path, *, fingerprint: str) -> dict:
    """Read a checkpoint made for the same configuration and data (`fingerprint`), else ConfigError.

    Only tensors and plain types are unpickled, so a checkpoint can't run code.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{path} belongs to another configuration or other data: --resume needs the same ones; "
            "choose another --out to start afresh"
        )
    return state

"""What a run folder keeps, for either loop: checkpoints that survive being killed, averaged weights, the log."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError

# Settings that came after runs were made: at these values they change no weight, and such runs can still be resumed.
LATER = {"attributes": None, "attribute_weight": 0.5, "grey": False}
WORDS = ("name", "licence", "description", "limits")  # for the card only: changing them changes no weight
AFTER = ("start_share",)  # applied when the training has ended: a finished run can take another


def run_mark(run: Path, name: str = "checkpoint.pt", *, resume: bool) -> Path:
    """The file or folder that shows that `run` holds a run; ConfigError where it is there and nobody said to go on."""
    if (run / name).exists() and not resume:
        raise ConfigError(f"{run} already holds a run: give --resume to go on with it, or another --out")
    return run / name


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a checkpoint of tensors and plain types beside the old one, then put it in its place in one step."""
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


def run_fingerprint(config: object, datasets: list[Dataset]) -> str:
    """Digest of what a run's weights depend on: its settings (a dataclass) and its data."""
    told = {k: v for k, v in asdict(config).items() if k not in WORDS + AFTER}
    settings = {k: v for k, v in told.items() if k not in LATER or v != LATER[k]}
    text = json.dumps([settings, [d.sha256() for d in datasets]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def update_average(average: dict, model: torch.nn.Module, keep: float) -> None:
    """Move a running average of weights towards the model's: keep · average + (1 - keep) · model."""
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - keep)


def read_average(run: str | Path) -> dict:
    """Averaged weights of a finished or running run folder."""
    path = Path(run) / "last.pt"
    if not path.is_file():
        raise ConfigError(f"no weights in {run}: expected {path} (train that configuration first)")
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def start_from(model: torch.nn.Module, run: str | Path, *, may_lack: str) -> None:
    """Load a run's averaged weights; parts whose names begin with `may_lack` may be in either alone, and then start
    from chance or are left out. ConfigError where anything else differs."""
    state, own = read_average(run), set(model.state_dict())
    odd = sorted(k for k in own ^ set(state) if not k.startswith(may_lack))
    if odd:
        raise ConfigError(f"the weights of {run} do not fit: {', '.join(odd[:3])}; start from a run of the same layers")
    model.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


def append_log(run: Path, row: dict) -> None:
    """Add a row to the run's log.csv, with a header where it is the first."""
    path = run / "log.csv"
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)

"""What a run folder keeps, for either loop: checkpoints that survive being killed, averaged weights, the log."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, ModelError, TrainingError
from leukoscope.files import TableWriter, write_text, write_whole
from leukoscope.models.torch_checkpoints import read_weights

# Settings that came after runs were made: at these values they change no weight, and such runs can still be resumed.
LATER = {"attributes": None, "attribute_weight": 0.5, "grey": False, "compile": "auto"}
WORDS = ("name", "licence", "description", "limits")  # for the card only: changing them changes no weight
AFTER = ("start_share",)  # applied when the training has ended: a finished run can take another
# How far a step goes: a run that has diverged goes on with smaller ones.
RATES = ("learning_rate", "backbone_rate", "head_rate", "reduced_rate", "final_rate", "clip", "gradient_norm")
DIVERGED = "diverged.csv"  # in the folder of a run that has: what it stopped at, and when


def run_mark(run: str | Path, name: str = "checkpoint.pt", *, resume: bool) -> Path:
    """The file or folder that shows that `run` holds a run; ConfigError where it is there and nobody said to go on."""
    run = Path(run)
    if (run / name).exists() and not resume:
        raise ConfigError(f"{run} already holds a run: give --resume to go on with it, or another --out")
    return run / name


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a checkpoint of tensors and plain types beside the old one, then put it in its place in one step.

    TrainingError where its weights are no finite numbers: the old one stays.
    """
    path = Path(path)
    odd = [k for k, v in state.get("model", {}).items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if odd:
        note_divergence(path.parent, {"epoch": "", "step": state.get("step", ""), "updates": "", "what": odd[0]})
        kept = f"{path} keeps the last finite ones" if path.exists() else "nothing had been saved yet"
        raise TrainingError(
            f"training stopped: weights are not finite numbers any more ({odd[0]}, {len(odd)} in all); {kept}: lower "
            "the learning rate and give --resume, or start anew"
        )
    with write_whole(path, "wb") as file:
        torch.save(state, file)


def load_checkpoint(path: str | Path, *, fingerprint: str) -> dict:
    """Read a checkpoint made for the same configuration and data (`fingerprint`), else ConfigError.

    A run that has diverged may go on at other rates. Only tensors and plain types are unpickled, so a checkpoint can't
    run code.
    """
    path = Path(path)
    state = read_checkpoint(path, "fingerprint", str)
    (whole, _, calm), (was, _, was_calm) = fingerprint.partition("."), state["fingerprint"].partition(".")
    goes_on = (path.parent / DIVERGED).exists() and calm and calm == was_calm
    if whole != was and not goes_on:
        raise ConfigError(
            f"{path} belongs to another configuration or other data: --resume needs the same ones; "
            "choose another --out to start afresh"
        )
    return state


def run_fingerprint(config: object, datasets: list[Dataset]) -> str:
    """Digest of what a run's weights depend on: its settings (a dataclass) and its data."""
    return settings_fingerprint(config, [d.sha256() for d in datasets])


def settings_fingerprint(config: object, data: list[str], *, without: tuple[str, ...] = ()) -> str:
    """Two digests, "whole.calm", of settings (a dataclass) and digests of data: the second leaves the rates out.

    without  names of settings that change no weight
    """
    stated = {k: v for k, v in asdict(config).items() if k not in WORDS + AFTER + without}
    settings = {k: v for k, v in stated.items() if k not in LATER or v != LATER[k]}
    calm = {k: v for k, v in settings.items() if k not in RATES}
    texts = (json.dumps([s, data], sort_keys=True) for s in (settings, calm))
    return ".".join(hashlib.sha256(text.encode()).hexdigest() for text in texts)


@torch.no_grad()
def update_average(average: dict, model: torch.nn.Module, keep: float) -> None:
    """Move a running average of weights towards the model's: keep · average + (1 - keep) · model."""
    pairs = [(average[k], v) for k, v in model.state_dict().items() if v.is_floating_point()]
    get_ema_multi_avg_fn(keep)([a for a, _ in pairs], [v for _, v in pairs], None)


def read_average(run: str | Path) -> dict:
    """Averaged weights of a finished or running run folder."""
    path = Path(run) / "last.pt"
    if not path.is_file():
        raise ConfigError(f"no weights in {run}: expected {path} (train that configuration first)")
    return read_checkpoint(path, "model", dict)["model"]


def read_checkpoint(path: Path, key: str, kind: type) -> dict:
    """What `save_checkpoint` wrote; ConfigError where it is damaged, or has no `key` of this kind."""
    try:
        state = read_weights(path)
    except ModelError as error:
        raise ConfigError(f"{error}; put an earlier copy in its place, or train anew into another --out") from None
    if not isinstance(state.get(key), kind):
        raise ConfigError(f"{path} is no checkpoint (no {key}); give the folder of a run of `leukoscope train`")
    return state


def start_from(model: torch.nn.Module, state: dict, *, source: str, may_differ: tuple[str, ...]) -> None:
    """Load weights; parts whose names begin with one of `may_differ` may be in either alone or of another shape, and
    then start from chance or are left out. ConfigError, naming `source`, where anything else differs."""
    expected = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in expected and v.shape == expected[k].shape}
    odd = sorted(k for k in set(expected) ^ set(state) | (set(expected) - set(fitting)) if not k.startswith(may_differ))
    if odd:
        raise ConfigError(
            f"the weights of {source} do not fit: {', '.join(odd[:3])}; start from ones of the same layers"
        )
    model.load_state_dict(fitting, strict=False)


def append_log(run: Path, row: dict) -> None:
    """Add a row to the run's log.csv, with a header where it is the first."""
    _append(run / "log.csv", row)


def cut_log(run: Path, n_rows: int) -> int:
    """Leave the first rows of the run's log.csv (below 0: all), for the steps after them are done again; returns how
    many there are then."""
    path = run / "log.csv"
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    if not 0 <= n_rows < len(lines) - 1:
        return max(0, len(lines) - 1)
    write_text(path, "".join(lines[: n_rows + 1]) if n_rows else "")
    return n_rows


def note_divergence(run: Path, row: dict) -> None:
    """Add a row to diverged.csv, with a header where it is the first."""
    _append(run / DIVERGED, row)


def _append(path: Path, row: dict) -> None:
    new = not path.exists() or not path.stat().st_size
    with open(path, "a", newline="", encoding="utf-8") as file:
        table = TableWriter(file)
        if new:
            table.writerow(row)
        table.writerow(row.values())

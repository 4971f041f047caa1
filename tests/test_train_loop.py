"""The one loop, task by task: killed runs go on to the same weights, and a loss that is not finite ends a run well."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from data.small_runs import LOSSES, TASKS, digest, infinite, small_run  # noqa: E402

from leukoscope.errors import ConfigError, TrainingError  # noqa: E402
from leukoscope.train import loop  # noqa: E402
from leukoscope.train.checkpoint import settings_fingerprint  # noqa: E402
from leukoscope.train.processes import Processes  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(Exception):
    pass


def rows_of(run):
    with open(run / "log.csv", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "clock_s")} for row in csv.DictReader(file)]


@pytest.mark.parametrize("task", TASKS)
def test_an_infinite_loss_stops_with_one_line_and_the_run_goes_on_to_the_same_weights(task, tmp_path, monkeypatch):
    """The third step's loss is infinite: the checkpoint of the second stays, and from it the run ends as it would have
    ended; so does one that was killed there."""
    train = small_run(task, tmp_path)
    whole = train(tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint at every step

    def kill(done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", progress=kill)
    with pytest.raises(ConfigError, match="--resume"):
        train(tmp_path / "killed")
    with monkeypatch.context() as patched:
        patched.setattr(LOSSES[task], infinite(LOSSES[task]))
        with pytest.raises(TrainingError) as caught:
            train(tmp_path / "killed", resume=True)
    said = str(caught.value)
    assert "\n" not in said and "not a finite number" in said and "--resume" in said, said
    kept = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)
    assert kept["place"]["updates"] in (1, 2)  # 1 where the second step ends an epoch, which is saved as a whole
    for state in (kept["model"], torch.load(tmp_path / "killed" / "last.pt", weights_only=True)["model"]):
        assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    train(tmp_path / "killed", resume=True)
    assert digest(whole) == digest(tmp_path / "killed")
    assert rows_of(whole) == rows_of(tmp_path / "killed")


@dataclass(frozen=True)
class Settings:
    steps: int = 3
    learning_rate: float = 0.1
    seed: int = 0


def test_only_a_run_that_has_diverged_goes_on_at_other_rates(tmp_path):
    """The rates may change then, and nothing else; a checkpoint written before rates had a digest still fits."""
    first, calmer = (settings_fingerprint(Settings(learning_rate=rate), ["d"]) for rate in (0.1, 0.01))
    other = settings_fingerprint(Settings(learning_rate=0.01, seed=1), ["d"])
    path = tmp_path / "checkpoint.pt"
    loop.save_checkpoint(path, {"fingerprint": first})
    with pytest.raises(ConfigError, match="another configuration"):
        loop.load_checkpoint(path, fingerprint=calmer)
    loop.note_divergence(tmp_path, {"step": 7})
    assert loop.load_checkpoint(path, fingerprint=calmer)
    with pytest.raises(ConfigError, match="another configuration"):
        loop.load_checkpoint(path, fingerprint=other)
    loop.save_checkpoint(path, {"fingerprint": first.partition(".")[0]})
    assert loop.load_checkpoint(path, fingerprint=first)
    with pytest.raises(ConfigError, match="another configuration"):
        loop.load_checkpoint(path, fingerprint=calmer)


def linear_task(network, **more):
    """Three steps towards zero; `more` replaces what a task is made of."""

    def loss(piece):
        value = network(piece).square().mean()
        return value, value.detach().reshape(1)

    stage = loop.Stage("all", 1, lambda: torch.optim.SGD(network.parameters(), lr=0.1), lambda step: 1.0)
    parts = {"network": network, "stages": (stage,), "steps": 3, "names": ("loss",), "clip": 1e9, "loss": loss}
    parts["pieces"] = lambda at: ([torch.ones(1, 2)] for _ in range(at.step, 3))
    return loop.Task(**parts | more)


def test_an_infinite_gradient_stops_a_run_whose_loss_is_still_finite(tmp_path):
    """The square root's slope at 0 is infinite: the loss is 0, the weights after it would be NaN."""
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(network.weight)

    def loss(piece):
        value = network(piece).abs().sqrt().sum()
        return value, value.detach().reshape(1)

    alone = Processes(0, 1, torch.device("cpu"))
    with pytest.raises(TrainingError, match="the gradient is not a finite number any more; nothing had been saved"):
        loop.run_task(linear_task(network, loss=loss), tmp_path, fingerprint="f", processes=alone)
    assert not (tmp_path / "checkpoint.pt").exists() and (tmp_path / "diverged.csv").is_file()


@pytest.mark.parametrize(
    "old",
    [
        {"step": 2},
        {"epoch": 0, "step": 2, "updates": 2, "best": -1.0, "since": 0, "scaler": {}},
        {"progress": {"epoch": 0, "step": 2, "n_steps": 2, "best": [], "best_epoch": -1, "stage_name": "all",
                      "stopped": False}, "scaler": {}},
    ],
    ids=["steps", "detector", "finetune"],
)  # fmt: skip
def test_checkpoints_of_the_loops_before_are_gone_on_from(old, tmp_path):
    """Each of the three older layouts: the last step alone is done."""
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = {"fingerprint": "f", "model": network.state_dict(), "optimizer": optimizer.state_dict(), "average": None}
    loop.save_checkpoint(tmp_path / "checkpoint.pt", state | old)
    (tmp_path / "log.csv").write_text("step,loss\n1,1\n2,1\n")
    seen = []
    task = linear_task(network, pieces=lambda at: (seen.append(s) or [torch.ones(1, 2)] for s in range(at.step, 3)))
    loop.run_task(task, tmp_path, fingerprint="f", processes=Processes(0, 1, torch.device("cpu")))
    assert seen == [2] and len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["place"]["updates"] == 3


def test_no_loop_can_put_weights_that_are_not_finite_in_the_place_of_finite_ones(tmp_path):
    """The last guard, for every loop that saves: what was saved before stays, and says where the run may go on."""
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(TrainingError, match="nothing had been saved yet"):
        loop.save_checkpoint(path, {"model": {"w": torch.tensor([1.0, torch.nan])}, "step": 3})
    loop.save_checkpoint(path, {"model": {"w": torch.ones(2), "n": torch.tensor(7)}, "step": 1})
    with pytest.raises(TrainingError, match="last finite ones: lower the learning") as caught:
        loop.save_checkpoint(path, {"model": {"w": torch.tensor([1.0, torch.inf])}, "step": 4})
    assert "\n" not in str(caught.value)
    assert torch.load(path, weights_only=True)["step"] == 1 and (tmp_path / "diverged.csv").is_file()

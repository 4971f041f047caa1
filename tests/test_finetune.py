"""LP+FT on crops: it learns, resumes to the same weights, and its bundle computes what torch computes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from data.make_crops import make_crops

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")

from data.tiny_finetune import CONFIG, log_of, same, weights_of  # noqa: E402

from leukoscope.errors import ConfigError, DataError, ModelError  # noqa: E402
from leukoscope.models.bundle import read_bundle  # noqa: E402
from leukoscope.models.runtime import Session  # noqa: E402
from leukoscope.train.crops import task as finetune_loop  # noqa: E402
from leukoscope.train.crops.bundle import export_finetuned  # noqa: E402
from leukoscope.train.crops.finetune import finetune, load_finetuned, predict_logits  # noqa: E402
from leukoscope.train.crops.predict import box_classifier, softmax  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_learns_and_leaves_a_full_run_folder(tmp_path):
    train, val = make_crops(48), make_crops(24, seed=1)
    run = finetune(replace(CONFIG, epochs=8, augment="paper"), train, val, tmp_path / "run")
    rows = log_of(run)
    assert [r["epoch"] for r in rows] == [str(i) for i in range(1, 9)] and {r["stage"] for r in rows} == {"all"}
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert (predict_logits(run, val).argmax(1) == val.labels).mean() > 0.9
    record = json.loads((run / "config.json").read_text("utf-8"))
    assert record["config"]["epochs"] == 8 and record["train"]["cells"]["neutrophil"] == 16
    assert record["train"]["crops_sha256"] == train.sha256() and record["val"]["group"] == "patient"
    assert record["environment"]["torch"] == torch.__version__ and record["train"]["sources"][0]["name"] == "drawn"
    assert {p.name for p in run.iterdir()} == {"best.pt", "checkpoint.pt", "config.json", "last.pt", "log.csv"}


def test_the_head_learns_alone_first_and_sees_cached_features(tmp_path):
    config = replace(CONFIG, head_epochs=2, epochs=1, head_augment=False, reduced_rate=1e-3, norms="frozen", seed=3)
    seen = []
    original = finetune_loop.make_batch
    finetune_loop.make_batch = lambda *a, **k: seen.append(k["augment"]) or original(*a, **k)
    try:
        run = finetune(config, make_crops(16), make_crops(9, seed=1), tmp_path / "run")
    finally:
        finetune_loop.make_batch = original
    assert seen == ["none"] * 2  # the last stage's two batches only
    assert [r["stage"] for r in log_of(run)] == ["head", "head", "all"]
    # A frozen stage alone leaves the backbone as it was, and its head moves.
    alone = finetune(replace(config, epochs=0), make_crops(16), None, tmp_path / "alone")
    torch.manual_seed(3)
    start = fresh_weights(config)
    ended = weights_of(alone)
    assert all(torch.equal(v, ended[k]) for k, v in start.items() if not k.startswith("head."))
    assert not torch.equal(start["head.weight"], ended["head.weight"])
    assert not same(weights_of(run), ended)


def fresh_weights(config):
    from leukoscope.models.torch_backbones import build_network

    return build_network(config.arch, 3, weights=None, size=config.size, norms=config.norms).state_dict()


def test_cached_features_and_the_whole_network_train_the_same_head(tmp_path):
    config = replace(CONFIG, head_epochs=2, epochs=0, head_augment=False, norms="frozen")
    train = make_crops(16)
    cached = finetune(config, train, None, tmp_path / "cached")
    through = finetune(config, train, None, tmp_path / "through", extra_losses=[lambda net, b, maps, logits: 0.0])
    assert same(weights_of(cached), weights_of(through), atol=1e-5)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch, ema):
    config = replace(CONFIG, head_epochs=1, augment="stain", dropout=0.3, ema=ema, reduced_rate=5e-3)
    train, val = make_crops(24), make_crops(9, seed=1)
    whole = finetune(config, train, val, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(done, total):
        if done == 8:
            raise Killed

    monkeypatch.setattr("leukoscope.train.loop.CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        finetune(config, train, val, tmp_path / "cut", progress=kill)
    with pytest.raises(ConfigError, match="--resume"):
        finetune(config, train, val, tmp_path / "cut")
    cut = finetune(config, train, val, tmp_path / "cut", resume=True)
    for which in ("last", "best"):
        assert same(weights_of(whole, which), weights_of(cut, which))
    assert log_of(whole) == log_of(cut) and len(log_of(cut)) == 4
    before = weights_of(cut)
    finetune(config, train, val, tmp_path / "cut", resume=True)  # a finished run: nothing left to do
    assert same(before, weights_of(cut)) and len(log_of(cut)) == 4


def test_resuming_with_other_data_or_settings_is_refused(tmp_path):
    run = finetune(replace(CONFIG, epochs=1), make_crops(12), None, tmp_path / "run")
    with pytest.raises(ConfigError, match="another configuration"):
        finetune(replace(CONFIG, epochs=2), make_crops(12), None, run, resume=True)
    with pytest.raises(ConfigError, match="another configuration"):
        finetune(replace(CONFIG, epochs=1), make_crops(12, seed=4), None, run, resume=True)


def test_accumulated_pieces_give_the_step_of_the_whole_batch(tmp_path):
    config, train = replace(CONFIG, norms="frozen", weight_decay=0.0), make_crops(24)
    whole = finetune(config, train, None, tmp_path / "whole")
    pieces = finetune(replace(config, accumulate=3), train, None, tmp_path / "pieces")
    assert same(weights_of(whole), weights_of(pieces), atol=2e-5)


def test_it_stops_early_and_keeps_the_best(tmp_path):
    config = replace(CONFIG, epochs=9, patience=2, learning_rate=0.0, head_rate=0.0, monitor="loss", norms="frozen")
    run = finetune(config, make_crops(12), make_crops(9, seed=1), tmp_path / "run")
    assert len(log_of(run)) == 3  # nothing moves: the first epoch stays the best, two more are waited for
    assert same(weights_of(run, "best"), weights_of(run))


def test_the_hooks_of_loss_and_sampling(tmp_path):
    train = make_crops(24)
    seen: list[dict] = []

    def class_loss(logits, labels):
        assert logits.shape == (len(labels), 3)
        return torch.nn.functional.cross_entropy(logits, labels)

    def extra(network, batch, feature_map, logits):
        seen.append(batch)
        assert feature_map.shape[:2] == (len(logits), network.width)
        assert batch["pixels"].shape[1:] == (32, 32, 3) and batch["extras"]["masks"].shape[1:] == (32, 32)
        return network.head.weight.square().sum() * 0.1

    weights = (train.labels == 1).astype(float)
    run = finetune(
        replace(CONFIG, epochs=2), train, None, tmp_path / "run",
        class_loss=class_loss, extra_losses=[extra], sampler_weights=weights,
    )  # fmt: skip
    assert {int(v) for b in seen for v in b["labels"]} == {1}
    assert all((train.labels[b["rows"].numpy()] == b["labels"].numpy()).all() for b in seen)
    plain = finetune(replace(CONFIG, epochs=2), train, None, tmp_path / "plain", sampler_weights=weights)
    assert not same(weights_of(run), weights_of(plain))
    with pytest.raises(DataError, match="24 weights"):
        finetune(CONFIG, train, None, tmp_path / "bad", sampler_weights=np.ones(3))


def test_cells_without_a_class_are_left_out_with_their_weights(tmp_path):
    train = make_crops(12)
    unknown = replace(train, labels=np.where(np.arange(12) < 3, -1, train.labels))
    weights = np.r_[np.full(3, 1e6), np.ones(9)]
    run = finetune(replace(CONFIG, epochs=1), unknown, None, tmp_path / "run", sampler_weights=weights)
    assert sum(json.loads((run / "config.json").read_text("utf-8"))["train"]["cells"].values()) == 9
    with pytest.raises(DataError, match="nothing to learn"):
        finetune(CONFIG, replace(train, labels=np.full(12, -1)), None, tmp_path / "none")


def test_a_run_can_start_from_another_ones_weights(tmp_path):
    train = make_crops(24)
    first = finetune(CONFIG, train, None, tmp_path / "first")
    still = replace(CONFIG, epochs=1, learning_rate=0.0, head_rate=0.0, norms="frozen")
    for name, start in (("folder", first), ("file", first / "best.pt"), ("state", weights_of(first))):
        second = finetune(still, train, None, tmp_path / name, start_from=start)
        assert same(weights_of(first), weights_of(second))
    with pytest.raises(ModelError, match="head.weight"):
        finetune(still, make_crops(24, n_classes=4), None, tmp_path / "other", start_from=first)


def test_crops_of_another_size_or_kind_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="size = 32"):
        finetune(CONFIG, make_crops(6, size=16), None, tmp_path / "a")
    with pytest.raises(DataError, match="differ in white_balance"):
        finetune(CONFIG, make_crops(6), replace(make_crops(6), white_balance=True), tmp_path / "b")
    with pytest.raises(ConfigError, match="augment must be"):
        replace(CONFIG, augment="heavy")
    with pytest.raises(ConfigError, match="no epochs"):
        replace(CONFIG, epochs=0)


def test_mixed_precision_trains_too(tmp_path):
    train = make_crops(24)
    run = finetune(replace(CONFIG, amp="bf16", epochs=2), train, None, tmp_path / "run")
    plain = finetune(replace(CONFIG, epochs=2), train, None, tmp_path / "plain")
    assert not same(weights_of(run), weights_of(plain)) and same(weights_of(run), weights_of(plain), atol=0.1)
    assert all(v.dtype == torch.float32 for v in weights_of(run).values() if v.is_floating_point())


@pytest.mark.parametrize("arch", ["tiny", "tiny-resnet", "tiny-efficientnet", "tiny-vit", "tiny-vit-swiglu"])
def test_the_bundle_computes_what_torch_computes(arch, tmp_path):
    if arch != "tiny":
        pytest.importorskip("transformers", reason="needs the extra: pip install '.[study]'")
    pytest.importorskip("onnx", reason="the export needs the extra: pip install '.[train]'")
    config = replace(CONFIG, arch=arch, size=56, epochs=1, batch_size=6)
    train, val = make_crops(12, size=56), make_crops(9, size=56, seed=1)
    run = finetune(config, train, val, tmp_path / "run")
    out = export_finetuned(run, tmp_path / "bundle", validation=val, command="c", commit="d")
    bundle = read_bundle(out)
    got = Session(bundle).run(pixels=val.crops)[0]
    assert np.abs(got - predict_logits(run, val)).max() < 1e-4
    assert np.array(bundle.card.confusion["counts"]).sum() == 9
    assert bundle.card.crop == val.rule and bundle.card.taxonomy == val.taxonomy and bundle.card.temperature > 0
    with pytest.raises(ModelError, match="another crop rule"):
        export_finetuned(run, tmp_path / "x", validation=make_crops(9, size=64, seed=1))


def test_half_weights_halve_the_file_and_leave_the_calls(tmp_path):
    pytest.importorskip("onnx", reason="the export needs the extra: pip install '.[train]'")
    train, val = make_crops(12), make_crops(9, seed=1)
    sizes, logits = [], []
    for half in (False, True):
        config = replace(CONFIG, arch="small", epochs=1, half_weights=half)
        run = finetune(config, train, val, tmp_path / f"run-{half}")
        out = export_finetuned(run, tmp_path / f"bundle-{half}", validation=val)  # compares the graph with the network
        sizes.append((out / "model.onnx").stat().st_size)
        logits.append(Session(read_bundle(out)).run(pixels=val.crops)[0])
    assert sizes[1] < 0.52 * sizes[0]
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.02


def test_a_run_names_the_boxes_of_a_photograph(tmp_path):
    from leukoscope.types import Field, FieldKey

    run = finetune(replace(CONFIG, epochs=6), make_crops(36), None, tmp_path / "run")
    network, record = load_finetuned(run)
    pixels = np.full((60, 60, 3), 235, np.uint8)
    pixels[22:38, 22:38] = (60, 60, 170)  # the colour of the second class
    name_boxes = box_classifier(network, record)
    probs = name_boxes(Field(FieldKey("f", "", "", "c", "blood"), pixels), np.array([[20.0, 20, 40, 40]]))
    assert probs.shape == (1, 3) and probs.sum() == pytest.approx(1) and probs.argmax() == 1
    assert name_boxes(Field(FieldKey("f", "", "", "c", "blood"), pixels), np.zeros((0, 4))).shape == (0, 3)
    assert softmax(np.array([[0.0, np.log(3)]])).tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]


WORKER = """
import sys
from dataclasses import replace
sys.path[:0] = [{tests!r}]
import torch
torch.set_num_threads(1)
from data.make_crops import make_crops
from leukoscope.train.crops.finetune import FinetuneConfig, finetune

config = FinetuneConfig(**{config!r})
finetune(config, make_crops(22), make_crops(9, seed=1), {out!r})
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_the_network_that_one_trains(tmp_path, root):
    stages = {"head_epochs": 1, "epochs": 2, "head_augment": False, "reduced_rate": 5e-3}
    config = replace(CONFIG, norms="frozen", batch_size=7, **stages)
    alone = finetune(config, make_crops(22), make_crops(9, seed=1), tmp_path / "alone")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = WORKER.format(tests=str(root / "tests"), config=asdict(config), out=str(tmp_path / "two"))
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared["PYTHONPATH"] = str(root / "src")
    command = [sys.executable, "-c", code]
    ranks = [os.environ | shared | {"RANK": str(r)} for r in range(2)]
    workers = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE) for env in ranks]
    errors = [w.communicate(timeout=600)[1].decode() for w in workers]
    assert [w.returncode for w in workers] == [0, 0], errors
    assert same(weights_of(alone), weights_of(tmp_path / "two"), atol=2e-5)
    assert json.loads((tmp_path / "two" / "config.json").read_text("utf-8"))["environment"]["processes"] == 2
    assert [r["epoch"] for r in log_of(tmp_path / "two")] == ["1", "2", "3"]

"""The detection transformers on painted fields: classes checked, empty fields train, resumed weights are the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from data.make_painted_set import paint_set

from leukoscope.dataset.detection import WBC_OTHER, detection_taxonomy, label_fields, usable_fields
from leukoscope.errors import ConfigError, DataError
from leukoscope.taxonomy import PCM_9

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from data.tiny_detector import TINY  # noqa: E402

from leukoscope.train.detector import task as loop  # noqa: E402
from leukoscope.train.detector.config import DetectorConfig, YoloConfig, read_detector_config  # noqa: E402
from leukoscope.train.detector.data import Batch, Batches, Pictures, mix_up  # noqa: E402
from leukoscope.train.detector.network import batch_losses, build_detector, make_optimizer  # noqa: E402
from leukoscope.train.detector.predict import best_pairs, detect, read_detector, truth_boxes  # noqa: E402
from leukoscope.train.detector.run import split_off_validation  # noqa: E402
from leukoscope.train.processes import Processes  # noqa: E402

ONE = Processes(0, 1, torch.device("cpu"))


pytestmark = pytest.mark.usefixtures("one_thread")


def test_classes_become_columns_and_what_has_none_is_named(tmp_path):
    data = paint_set(tmp_path, n_fields=2, classes=("lymphocyte", "smudge_cell"))
    assert [f.labels.tolist() for f in label_fields(data, WBC_OTHER)] == [[0, 1]] * 2
    assert [f.labels.tolist() for f in label_fields(data, PCM_9)] == [[0, 8]] * 2
    strange = replace(data.fields[1].cells[0], class_name="erythroblast")
    data = replace(data, fields=(data.fields[0], replace(data.fields[1], cells=(strange,))))
    with pytest.raises(DataError, match="no class for: 1 erythroblast"):
        label_fields(data, PCM_9)
    kept = usable_fields(data, PCM_9, leave_out=("erythroblast",))
    assert [f.key.field_id for f in kept.fields] == ["f0"]
    assert label_fields(data, WBC_OTHER)[1].labels.tolist() == [0]
    unstated = replace(data.fields[0], cells=(replace(strange, class_name=None),))
    with pytest.raises(DataError, match="1 unstated"):
        label_fields(replace(data, fields=(unstated,)), PCM_9)


def test_the_taxonomy_of_binary_boxes_is_named():
    assert detection_taxonomy("wbc-other") is WBC_OTHER and detection_taxonomy("pcm-9") is PCM_9


def test_a_run_leaves_what_is_promised_and_resumes_to_the_same_weights(tmp_path, monkeypatch):
    data = paint_set(tmp_path / "set", empty=(2,))
    many = replace(TINY, batch_size=1)  # three steps an epoch: killed within one
    run = loop.train_detector(many, [data], tmp_path / "whole")
    record = json.loads((run / "run.json").read_text())
    assert record["arch"] == "rtdetrv2-tiny" and record["config"]["side"] == 64
    train, val = record["data"]
    assert (train["part"], train["n_fields"], train["n_cells"]) == ("train", 3, {"white_cell": 4, "other": 0})
    assert (val["part"], val["n_fields"]) == ("val", 2) and train["sha256"] != val["sha256"]
    assert record["environment"]["transformers"] and record["environment"]["accelerator"] is None
    rows = (run / "log.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,loss,loss_mal,loss_bbox,loss_giou,rate,val_ap50_95") and len(rows) == 3
    assert (run / "best.pt").is_file() and (run / "last.pt").is_file()

    monkeypatch.setattr("leukoscope.train.loop.CHECKPOINT_SECONDS", -1.0)

    class Killed(Exception):
        pass

    def kill(done, total):
        if done == 1:
            raise Killed

    with pytest.raises(Killed):
        loop.train_detector(many, [data], tmp_path / "killed", progress=kill)
    with pytest.raises(ConfigError, match="--resume"):
        loop.train_detector(many, [data], tmp_path / "killed")
    loop.train_detector(many, [data], tmp_path / "killed", resume=True)
    whole = torch.load(run / "checkpoint.pt", weights_only=True)
    resumed = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)
    for kind in ("model", "average"):
        assert all(torch.equal(whole[kind][k], resumed[kind][k]) for k in whole[kind]), kind
    with pytest.raises(ConfigError, match="another configuration"):
        loop.train_detector(replace(many, seed=4), [data], tmp_path / "killed", resume=True)

    found = detect(run, data)
    assert len(found) == len(data.fields) and all(len(f.scores) <= 100 for f in found)
    assert all((f.boxes[:, 2] <= 96).all() and (f.boxes[:, 3] <= 80).all() for f in found)
    assert [len(t.boxes) for t in truth_boxes(data, WBC_OTHER)] == [2, 2, 0, 2, 2, 2]


def test_batches_without_any_cell_train(tmp_path):
    """They ended others' runs: no truth to match, none to denoise."""
    data = paint_set(tmp_path, empty=(0, 1, 2, 3, 4, 5))
    fields = [(data, f) for f in label_fields(data, WBC_OTHER)]
    with pytest.raises(DataError, match="no box of taxonomy"):
        loop.read_pictures([data], WBC_OTHER, TINY)
    net, _ = build_detector(TINY, 2)
    pictures = Pictures(fields, balance=False, memory_px=96)
    dense = replace(loop.recipe_of_epoch(TINY, 0), dense=True, mosaic_prob=1.0, mixup_prob=1.0)
    batch = Batches(pictures, dense, np.arange(2), key=(0, 0, 0), size=2)[0]
    assert [len(t["boxes"]) for t in batch.labels] == [0, 0]
    losses = batch_losses(net.train(), batch.pixels, batch.labels)
    losses["loss"].backward()
    assert math.isfinite(losses["loss"].detach()) and losses["loss_bbox"] == 0
    make_optimizer(net, TINY).step()
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_the_loss_is_the_matchability_aware_one_in_every_layer(tmp_path):
    net, _ = build_detector(TINY, 2)
    labels = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}] * 2
    parts = batch_losses(net.train(), torch.full((2, 64, 64, 3), 200, dtype=torch.uint8), labels)
    mal = sorted(k for k in parts if k.startswith("loss_mal"))
    # Two decoder layers: the last, one auxiliary, the encoder's choice; and two of the denoising queries.
    assert mal == ["loss_mal", "loss_mal_aux_0", "loss_mal_aux_1", "loss_mal_dn_0", "loss_mal_dn_1"]
    assert not any("vfl" in k for k in parts)


def test_accumulated_batches_are_one_large_one():
    """Two batches of one picture give half of each one's gradients, summed (norms in evaluation mode)."""
    gradients = []
    for size in (1, 2):
        net = build_detector(TINY, 2)[0].eval()
        pixels = torch.randint(0, 255, (1, 64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        labels = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])}]
        for _ in range(3 - size):
            (batch_losses(net, pixels.repeat(size, 1, 1, 1), labels * size)["loss"] / (3 - size)).backward()
        gradients.append(net.net.model.enc_score_head.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-6) and gradients[0].abs().max() > 0


def test_dense_one_to_one_has_its_epochs_and_the_rate_is_flat_then_falls():
    config = replace(TINY, epochs=72, plain_epochs=8, warmup_steps=20, learning_rate=2e-4, final_rate=1e-4)
    assert config.dense_span == (3, 39)  # 72 // 20; DEIM's own 4 where epochs are 80 or more, or where it is set
    assert replace(config, dense_from=4).dense_span == (4, 40)
    dense = [e for e in range(72) if loop.recipe_of_epoch(config, e).dense]
    plain = [e for e in range(72) if loop.recipe_of_epoch(config, e).plain]
    sizes = [e for e in range(72) if loop.recipe_of_epoch(replace(config, multi_scale=0.25), e).multi_scale]
    assert dense == list(range(3, 39)) and plain == [0, 1, 2, *range(64, 72)] and sizes == list(range(64))
    rates = [loop.flat_cosine(config, 10, s) for s in range(720)]
    assert rates[0] == pytest.approx(1 / 400) and rates[19] == 1 and set(rates[19:390]) == {1.0}
    assert all(a >= b for a, b in zip(rates[390:], rates[391:], strict=False))
    assert rates[515] == pytest.approx(0.75, abs=0.01) and set(rates[640:]) == {0.5}


def test_mixed_up_pictures_carry_both_pictures_boxes():
    labels = [{"class_labels": torch.tensor([i]), "boxes": torch.full((1, 4), 0.1 * i)} for i in range(3)]
    pixels = torch.stack([torch.full((4, 4, 3), v, dtype=torch.uint8) for v in (0, 100, 200)])
    mixed = mix_up(Batch(pixels, labels), 0.5)
    assert [t["class_labels"].tolist() for t in mixed.labels] == [[0, 2], [1, 0], [2, 1]]
    assert mixed.pixels[:, 0, 0, 0].tolist() == [100, 50, 150]


def test_processes_share_an_epoch_without_overlap():
    config = replace(TINY, batch_size=2)
    each = [Processes(rank, 3, torch.device("cpu")) for rank in range(3)]
    parts = [loop.order_of_epoch(13, config, 5, own) for own in each]
    seen = np.concatenate(parts)
    assert {loop.steps_of_epoch(13, config, own) for own in each} == {2} and len(seen) == len(set(seen.tolist())) == 12
    assert (loop.order_of_epoch(13, config, 5, each[0]) == parts[0]).all()
    assert loop.steps_of_epoch(3, replace(config, batch_size=8), ONE) == 1  # a tiny set is gone through again


def test_norms_do_not_decay_and_the_backbone_has_its_own_rate():
    config = replace(TINY, backbone_rate=1e-5)
    net = build_detector(config, 2)[0]
    optimizer = make_optimizer(net, config)
    groups = {(g["lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert groups == {(1e-3, 1e-4), (1e-3, 0.0), (1e-5, 1e-4), (1e-5, 0.0)}
    n_params = sum(len(g["params"]) for g in optimizer.param_groups)
    assert n_params == len(list(net.parameters()))
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    norms = [m for m in net.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.LayerNorm))]
    assert norms and all(decays[id(m.weight)] == 0 for m in norms)


def test_each_decoder_layer_has_its_own_head_and_norms_pass_the_signal():
    net = build_detector(TINY, 2)[0].net
    heads = net.model.decoder.class_embed
    assert heads[0].weight is not heads[1].weight and net.class_embed is heads
    assert all((m.weight == 1).all() for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_deimv2_trains_with_its_own_matching_aware_loss():
    net = build_detector(replace(TINY, arch="deimv2-tiny"), 2)[0].train()
    labels = [
        {"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]])},
        {"class_labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)},
    ]
    parts = batch_losses(net, torch.full((2, 64, 64, 3), 200, dtype=torch.uint8), labels)
    assert "loss_mal" in parts and any(k.startswith("loss_fgl") for k in parts)
    assert math.isfinite(parts["loss"].detach())


def test_pairs_of_box_and_class_are_ranked_and_suppressed_by_class():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [3, 3, 3, 9]])
    scores = np.array([[0.9, 0.2], [0.8, 0.7], [0.1, 0.3], [1.0, 1.0]])
    plain = best_pairs(boxes, scores, nms_iou=None, most=4)
    assert plain.scores.tolist() == [0.9, 0.8, 0.7, 0.3] and plain.class_ids.tolist() == [0, 0, 1, 1]
    kept = best_pairs(boxes, scores, nms_iou=0.7, most=10)
    assert kept.scores.tolist() == [0.9, 0.7, 0.3, 0.1] and kept.class_ids.tolist() == [0, 1, 1, 0]
    assert len(best_pairs(boxes[:0], scores[:0], nms_iou=0.7, most=5).boxes) == 0


def test_configurations_are_read_and_checked(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('task = "detect"\nname = "a"\narch = "rtdetrv2-r18"\nepochs = 60\n')
    config = read_detector_config(path)
    assert isinstance(config, DetectorConfig) and (config.learning_rate, config.final_rate) == (2e-5, 1e-5)
    path.write_text('task = "detect"\nname = "a"\narch = "yolo11m"\n')
    config = read_detector_config(path)
    assert isinstance(config, YoloConfig) and config.epochs == 100 and "AGPL-3.0" in config.licence
    path.write_text('task = "detect"\nname = "a"\narch = "yolo11m"\nlicence = "MIT"\n')
    with pytest.raises(ConfigError, match="AGPL"):
        read_detector_config(path)
    for wrong in ({"side": 100}, {"plain_epochs": 9}, {"amp": "half"}, {"val_share": 1.0}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            replace(TINY, **wrong)
    with pytest.raises(ConfigError, match="arch must be one of"):
        build_detector(replace(TINY, arch="rtdetr"), 2)
    with pytest.raises(ConfigError, match="is no training run of task .detect."):
        read_detector(tmp_path)


def test_validation_is_split_off_by_patient_and_no_field_is_lost(tmp_path):
    data = paint_set(tmp_path / "a", splits=False)
    single = paint_set(tmp_path / "b", n_fields=2, splits=False, name="single")
    same = replace(single, fields=tuple(replace(f, key=replace(f.key, patient_id="p")) for f in single.fields))
    train, val = split_off_validation([data, same], replace(TINY, val_share=0.34))
    assert [len(d.fields) for d in train] == [4, 2] and [len(d.fields) for d in val] == [2]
    assert not {f.key.patient_id for f in train[0].fields} & {f.key.patient_id for f in val[0].fields}
    assert [len(d.fields) for d in split_off_validation([same], TINY)[0]] == [2]
    with pytest.raises(ConfigError, match="splits has val"):
        split_off_validation([data], replace(TINY, splits=("train", "val")))


def test_the_configurations_that_are_shipped_are_read(root):
    """Full and small twins agree on the classes; the full ones say what the paper says (PCM, section 2.3.1)."""
    for name in ("yolo11m-nine", "yolo11m-wbc", "deim-rtdetrv2-nine", "deim-rtdetrv2-wbc"):
        full = read_detector_config(root / "configs" / "pcm" / f"{name}.toml")
        small = read_detector_config(root / "configs" / "pcm-small" / f"{name}.toml")
        assert full.taxonomy == small.taxonomy == ("pcm-9" if name.endswith("nine") else "wbc-other")
        assert (full.side, full.val_share) == (640, 0.2) and small.side < 640
        if isinstance(full, YoloConfig):
            assert (full.arch, full.epochs, full.learning_rate, full.final_share) == ("yolo11m", 100, 0.01, 0.01)
        else:
            assert (full.epochs, full.learning_rate, full.final_rate) == (60, 2e-5, 1e-5)

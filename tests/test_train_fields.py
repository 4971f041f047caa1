"""Which fields a run may see: one rule, and every task keeps it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from data.make_painted_set import paint_set

from leukoscope.errors import ConfigError, DataError
from leukoscope.train.fields import seen_fields, validation_fields, with_validation


@pytest.fixture
def data(tmp_path):
    """Six fields f0 to f5 of six patients: train, val, train, train, val, test."""
    return paint_set(tmp_path / "set")


def names(datasets):
    return [[f.key.field_id for f in d.fields] for d in datasets]


def copied(dataset, field_id, of, **changes):
    """The data set, one field's picture being another one's copy."""
    digest = next(f.sha256 for f in dataset.fields if f.key.field_id == of)
    fields = (replace(f, sha256=digest, **changes) if f.key.field_id == field_id else f for f in dataset.fields)
    return replace(dataset, fields=tuple(fields))


def test_a_stated_split_is_kept_to_and_a_set_without_any_is_seen_whole(data):
    assert names(seen_fields([data], ("train",))) == [["f0", "f2", "f3"]]
    assert names(seen_fields([data], ("train", "test"))) == [["f0", "f2", "f3", "f5"]]
    unstated = replace(data, fields=tuple(replace(f, split=None) for f in data.fields))
    assert names(seen_fields([unstated], ("train",))) == [["f0", "f1", "f2", "f3", "f4", "f5"]]
    half = replace(data, fields=(replace(data.fields[0], split=None), *data.fields[1:]))
    assert names(seen_fields([half], ("train",))) == [["f2", "f3"]]  # in no split, so in none that is trained on


def test_copies_of_what_is_not_seen_are_left_out_in_every_set(data, tmp_path):
    assert names(seen_fields([copied(data, "f2", of="f1")], ("train",))) == [["f0", "f3"]]  # of a validation picture
    assert names(seen_fields([copied(data, "f2", of="f5")], ("train",))) == [["f0", "f3"]]  # of a test picture
    assert names(seen_fields([copied(data, "f2", of="f0")], ("train",))) == [["f0", "f3"]]  # of its own: once
    other = replace(data, name="other", fields=tuple(replace(f, split="train") for f in data.fields[1:3]))
    assert names(seen_fields([data, other], ("train",))) == [["f0", "f2", "f3"], ["f2"]]  # f1 is val in the first


def test_a_share_is_held_out_by_patient_where_nobody_did(data):
    assert with_validation([data], ("train",), 0) == [data]
    unstated = replace(data, fields=tuple(replace(f, split=None) for f in data.fields[:3] + data.fields[5:]))
    (divided,) = with_validation([unstated], ("train",), 0, 0.3)
    (held,), (learnt,) = validation_fields([divided]), seen_fields([divided], ("train",))
    assert len(held.fields) == 1 and not {f.key for f in held.fields} & {f.key for f in learnt.fields}
    alone = replace(data, fields=(replace(data.fields[0], split=None),))
    assert with_validation([alone], ("train",), 0) == [alone] and not validation_fields([alone])
    with pytest.raises(ConfigError, match="splits has val"):
        with_validation([data], ("train", "val"), 0)


@pytest.mark.parametrize("task", ["detector", "finetune", "classifier"])
def test_no_task_is_trained_on_a_copy_of_a_validation_picture(task, data):
    """f2, which is to be trained on, is the picture f1, which validates: two fields are left of three."""
    pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")
    assert fields_of(task, copied(data, "f2", of="f1")) == ["f0", "f3"]


def fields_of(task, data):
    """The fields that a task's run is trained on."""
    if task == "detector":
        from data.tiny_detector import TINY

        from leukoscope.train.detector.run import split_off_validation

        return names(split_off_validation([data], TINY)[0])[0]
    if task == "finetune":
        from leukoscope.train.crops.config import FinetuneConfig
        from leukoscope.train.crops.job import training_crops

        config = FinetuneConfig(name="x", arch="tiny", taxonomy="pcm-9", epochs=1, size=32)
        return [f"f{name.partition('.')[0]}" for name in sorted(set(training_crops(config, [data])[0].files.tolist()))]
    return names(seen_fields([data], ("train",)))[0]


@pytest.mark.parametrize("task", ["locator", "outliner"])
def test_a_run_folder_tells_how_many_fields_were_seen(task, data, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")
    from data.small_runs import with_contours

    from leukoscope.train.locator import task as locator
    from leukoscope.train.outliner import task as outliner

    torch.set_num_threads(1)
    small = {"name": "small", "steps": 1, "batch_size": 1, "width": 8, "pretrained": False}
    data = with_contours(copied(data, "f2", of="f1"))
    if task == "locator":
        run = locator.train_locator(locator.LocatorConfig(**small, side=64), [data], tmp_path / "run")
    else:
        run = outliner.train_outliner(outliner.OutlinerConfig(**small, size=32), [data], tmp_path / "run")
    assert json.loads((run / "run.json").read_text("utf-8"))["data"][0]["n_fields"] == 2


def test_a_set_of_one_patient_can_set_no_threshold_and_that_is_said(data, tmp_path):
    pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
    from leukoscope.dataset.manifest import write_dataset
    from leukoscope.train.run import train

    alone = replace(data, fields=(replace(data.fields[0], split=None),))
    write_dataset(alone, tmp_path / "alone")
    (tmp_path / "c.toml").write_text('task = "locate"\nname = "x"\nsteps = 1\n')
    with pytest.raises(DataError, match="no field can be held out"):
        train(tmp_path / "c.toml", [tmp_path / "alone"], tmp_path / "run")

"""The classifier's loop on small painted cells: resuming to the same weights, the exported bundle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from data.make_painted_cells import write_config

from leukoscope.dataset.manifest import read_dataset, write_dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.models.bundle import read_bundle
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import BLOOD_12, WBC_11

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.train.checkpoint import AFTER, LATER, WORDS, read_average, run_fingerprint  # noqa: E402
from leukoscope.train.classifier import task as loop  # noqa: E402
from leukoscope.train.classifier.attribute_layer import fit_logistic  # noqa: E402
from leukoscope.train.classifier.bundle import ATTRIBUTE_LAYER, read_classifier, restain, typed_crops  # noqa: E402
from leukoscope.train.classifier.data import load_cells  # noqa: E402
from leukoscope.train.classifier.loss import (  # noqa: E402
    attribute_loss,
    value_weights,
)
from leukoscope.train.classifier.network import mix_with_start  # noqa: E402
from leukoscope.train.fields import seen_fields, with_validation  # noqa: E402
from leukoscope.train.run import train  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_resumed_run_refuses_another_configuration(painted_sets, tmp_path):
    train(write_config(tmp_path, steps=1), painted_sets, tmp_path / "run")
    with pytest.raises(ConfigError, match="another configuration"):
        train(write_config(tmp_path, steps=2), painted_sets, tmp_path / "run", resume=True)


def test_held_out_patients_and_other_splits_are_never_seen(painted_sets, tmp_path):
    config = loop.ClassifierConfig("x", "blood-12", 32, 0.25, 1, 2, 1e-4, holdout_patients=("p0",))
    smears, cutouts = seen_fields(
        [read_dataset(s) for s in painted_sets], config.splits, without=config.holdout_patients
    )
    assert {f.key.patient_id for f in smears.fields} == {"p1"}  # p2 is in the validation split
    assert {f.key.patient_id for f in cutouts.fields} == {"p1", "p2"}
    twin = replace(
        read_dataset(painted_sets[0]),
        fields=tuple(replace(f, sha256="a" * 64) for f in smears.fields[:1])
        + tuple(replace(f, sha256="a" * 64, split="val") for f in smears.fields[1:2]),
    )
    (seen,) = seen_fields([twin], config.splits, without=config.holdout_patients)
    assert not seen.fields  # a copy of a validation picture
    held = replace(smears.fields[0], key=replace(smears.fields[0].key, patient_id="p0"))
    (seen,) = seen_fields([replace(smears, fields=(*smears.fields[:1], held))], config.splits, without=("p0",))
    assert not seen.fields  # nor of a held-out patient's


def test_the_bundle_computes_what_torch_computes(painted_sets, tmp_path):
    run = train(write_config(tmp_path), painted_sets, tmp_path / "run")
    validation = [read_dataset(painted_sets[0]).subset("val")]
    bundle = read_bundle(run / "bundle")
    model, _ = read_classifier(run)
    crops, diameters, truth = typed_crops(validation, bundle.card)
    assert len(crops) == len(diameters) == 2 and crops.shape[1:] == (32, 32, 3)  # an unspecified neutrophil has none
    sizes = np.array([9.0, 0.0], np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(crops), torch.from_numpy(sizes)).numpy()
    (got,) = Session(bundle).run(pixels=crops, diameter_um=sizes)
    assert np.abs(got - expected).max() < 1e-4
    assert np.array(bundle.card.confusion["counts"]).sum() == 2
    assert bundle.card.training["data"][0]["name"] == "smears"
    assert bundle.card.training["command"].endswith("--data smears-set cutouts-set --out run")
    assert restain(crops, seed=1).shape == crops.shape


def test_without_a_validation_split_some_patients_are_kept_for_it(painted_sets):
    cutouts = read_dataset(painted_sets[1])
    (divided,) = with_validation([cutouts], ("train",), 0)
    kept = {f.key.patient_id for f in divided.fields if f.split == "val"}
    learnt = {f.key.patient_id for f in divided.fields if f.split == "train"}
    assert kept and learnt and not kept & learnt
    assert with_validation([read_dataset(s) for s in painted_sets], ("train",), 0)[1] == cutouts  # the smears have one
    with pytest.raises(ConfigError, match="val"):
        with_validation([cutouts], ("train", "val"), 0)


def with_attributes(folder, *, seed=0):
    """The painted smears, their cells with two of wbc-11's attributes."""
    dataset = read_dataset(folder)
    values = (("cell_size", "small"), ("nucleus_shape", "round")), (("cell_size", "large"), ("nucleus_shape", "band"))
    full = {a.name: a.values[0] for a in WBC_11.attributes}
    fields = tuple(
        replace(f, cells=tuple(replace(c, attributes=tuple((full | dict(values[i % 2])).items())) for c in f.cells))
        for i, f in enumerate(dataset.fields)
    )
    write_dataset(replace(dataset, fields=fields), folder)


def test_attributes_teach_only_where_they_are_stated(painted_sets):
    with_attributes(painted_sets[0])
    cells = load_cells([read_dataset(s) for s in painted_sets], um_per_px={}, seed=0, attributes=WBC_11)
    stated = cells.attributes
    assert stated.shape == (len(cells.groups), 11)
    assert ((stated >= 0).all(1) == np.char.startswith(cells.groups, "smears:")).all()
    weights = value_weights(stated, WBC_11)
    assert len(weights) == 11 and [len(w) for w in weights[:3]] == [2, 2, 6]
    values = torch.zeros(len(stated), WBC_11.n_values, requires_grad=True)
    attribute_loss(values, torch.from_numpy(stated), weights).backward()
    assert (values.grad.abs().sum(1) > 0).numpy().tolist() == (stated >= 0).any(1).tolist()
    nobody = torch.full((2, 11), -1)
    assert attribute_loss(torch.ones(2, WBC_11.n_values), nobody, weights) == 0
    with pytest.raises(DataError, match="no training cell states cell_size"):
        value_weights(np.full((3, 11), -1), WBC_11)


def test_the_layer_fitted_last_is_the_one_that_is_exported(painted_sets, tmp_path):
    with_attributes(painted_sets[0])
    run = train(write_config(tmp_path, steps=1, more='attributes = "wbc-11"'), painted_sets, tmp_path / "run")
    fitted = torch.load(run / ATTRIBUTE_LAYER, weights_only=True)
    model, _ = read_classifier(run)
    assert torch.equal(model.attributes.weight, fitted["weight"])
    own = read_average(run)["attributes.weight"]
    kept = [torch.equal(own[columns], fitted["weight"][columns]) for columns in WBC_11.slices()]
    assert any(kept) and not all(kept)  # an attribute that was right already keeps its weights
    with pytest.raises(DataError, match="no cell of the validation fields states attributes"):
        train(write_config(tmp_path, more='attributes = "wbc-11"'), painted_sets[1:], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_layer_is_a_logistic_regression():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    features, truth = rng.normal(size=(120, 4)).astype(np.float32), rng.choice(3, 120)
    weight, bias = fit_logistic(torch.from_numpy(features), torch.from_numpy(truth), torch.ones(3), strength=0.1)
    reference = linear.LogisticRegression(C=1 / (0.1 * 120), tol=1e-9, max_iter=1000).fit(features, truth)
    ours = torch.softmax(torch.from_numpy(features) @ weight.T + bias, 1).numpy()
    assert np.abs(ours - reference.predict_proba(features)).max() < 1e-3


def test_rare_values_weigh_more_and_the_mean_weight_is_one():
    stated = np.full((100, 11), 0)
    stated[:10, 0] = 1
    weight = value_weights(stated, WBC_11)[0].numpy()
    assert weight[1] == pytest.approx(3 * weight[0]) and (weight * [0.9, 0.1]).sum() == pytest.approx(1)


def test_a_run_with_attributes_starts_from_one_without_and_its_bundle_speaks(painted_sets, tmp_path):
    for folder in painted_sets[:1]:
        with_attributes(folder)
    first = train(write_config(tmp_path, steps=1), painted_sets, tmp_path / "first")
    more = f'attributes = "wbc-11"\ninit_from = "{first}"'
    run = train(write_config(tmp_path, more=more), painted_sets, tmp_path / "run")
    model, _ = read_classifier(run)
    crops = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    sizes = np.array([9.0, 0.0, 12.0], np.float32)
    with torch.no_grad():
        logits, values = (t.numpy() for t in model.described(torch.from_numpy(crops), torch.from_numpy(sizes)))
    bundle = read_bundle(run / "bundle")
    got = Session(bundle).run_named(pixels=crops, diameter_um=sizes)
    assert np.abs(got["logits"] - logits).max() < 1e-4 and np.abs(got["attributes"] - values).max() < 1e-4
    (alone,) = Session(bundle).run(pixels=crops, diameter_um=sizes)
    assert np.abs(alone - logits).max() < 1e-4
    assert bundle.card.attributes.attributes == WBC_11 and bundle.card.attributes.classes == ()  # too few cells here
    with pytest.raises(ConfigError, match="do not fit"):
        train(
            write_config(tmp_path, more=more.replace(str(first), str(tmp_path / "odd"))),
            painted_sets,
            odd_run(tmp_path),
        )


def odd_run(folder):
    """A run folder beside weights of another network."""
    (folder / "odd").mkdir()
    torch.save({"model": {"fc.weight": torch.zeros(1)}}, folder / "odd" / "last.pt")
    return folder / "odd-out"


def test_settings_that_came_later_leave_old_fingerprints_alone(painted_sets):
    config = loop.ClassifierConfig("x", "blood-12", 32, 0.25, 1, 2, 1e-4)
    old = {k: v for k, v in asdict(config).items() if k not in (*WORDS, *AFTER, *LATER)}
    data = [read_dataset(painted_sets[0])]
    text = json.dumps([old, [data[0].sha256()]], sort_keys=True)
    assert run_fingerprint(config, data).partition(".")[0] == hashlib.sha256(text.encode()).hexdigest()
    assert run_fingerprint(replace(config, attributes="wbc-11"), data) != run_fingerprint(config, data)
    assert run_fingerprint(replace(config, start_share=0.5), data) == run_fingerprint(config, data)


def test_finished_weights_keep_a_share_of_their_start(tmp_path):
    config = loop.ClassifierConfig("x", "blood-12", 32, 0.25, 1, 2, 1e-4, init_from="run", start_share=0.25)
    reached = {"a": torch.tensor([1.0, 3.0]), "new": torch.tensor([5.0]), "count": torch.tensor(7)}
    mixed = mix_with_start(reached, {"a": torch.tensor([0.0, 1.0]), "count": torch.tensor(2)}, config)
    assert mixed["a"].tolist() == [0.75, 2.5] and mixed["new"].tolist() == [5.0] and mixed["count"].item() == 7
    for wrong in (replace(config, init_from=None), replace(config, start_share=1.0)):
        with pytest.raises(ConfigError, match="start_share"):
            loop.train_classifier(wrong, [], tmp_path)
    for wrong, words in ((replace(config, start_share=0, norms="trained"), "norms"), ({"dress": {"hat": 1}}, "hat"),
                         ({"prior": {"yeti": 1.0}}, "yeti")):  # fmt: skip
        odd = replace(config, start_share=0, **wrong) if isinstance(wrong, dict) else wrong
        with pytest.raises(ConfigError, match=words):
            loop.train_classifier(odd, [], tmp_path)


def test_trained_norms_are_folded_in_and_a_prior_is_in_the_bundle(painted_sets, tmp_path):
    more = 'norms = "trained"\ntemperature = 1.5\n[prior]\nlymphocyte = -2.0\n[thresholds]\nunidentified = 0.3'
    run = train(write_config(tmp_path, more=more), painted_sets, tmp_path / "run")
    model, _ = read_classifier(run)
    assert not [k for k in model.state_dict() if "running_mean" in k]
    bundle = read_bundle(run / "bundle")
    assert bundle.card.temperature == 1.5 and bundle.card.thresholds["unidentified"] == 0.3
    crops, sizes = np.full((2, 32, 32, 3), 99, np.uint8), np.zeros(2, np.float32)
    with torch.no_grad():
        plain = model(torch.from_numpy(crops), torch.from_numpy(sizes)).numpy()
    outputs = Session(bundle).run_named(pixels=crops, diameter_um=sizes)
    shift = outputs["logits"] - plain
    assert shift[:, BLOOD_12.index("lymphocyte")] == pytest.approx(-2, abs=1e-3)
    assert np.delete(shift, BLOOD_12.index("lymphocyte"), 1) == pytest.approx(0, abs=1e-3)
    heard = outputs["features"]
    layer = model.fc.weight.detach().numpy(), model.fc.bias.detach().numpy()
    assert heard @ layer[0].T + layer[1] == pytest.approx(plain, abs=1e-3)


def test_a_class_that_one_laboratory_shows_is_said_in_the_card(painted_sets, tmp_path):
    run = train(write_config(tmp_path, steps=1), painted_sets, tmp_path / "run")
    told = json.loads((run / "run.json").read_text())["one_source"]
    assert told["lymphoblast"] == "cutouts" and told["monocyte"] == "smears"
    assert "lymphoblast (cutouts)" in read_bundle(run / "bundle").card.limits[-1]
    assert "artefact" not in told  # made cells are of no set

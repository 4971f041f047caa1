"""Types doubted: activations read from the ONNX file, heads fitted in folds, the margin of confident learning."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from data.make_bundles import make_classifier
from onnx import TensorProto, helper, numpy_helper

from leukoscope.checks.activations import Activations, last_layer_input
from leukoscope.checks.label_quality import normalised_margin
from leukoscope.checks.labels import agreement_beyond_chance, are_related
from leukoscope.checks.out_of_fold import deal_folds, fit_head, out_of_fold_probs
from leukoscope.errors import ModelError
from leukoscope.models.bundle import find_model, read_bundle


def tiny_net(*, bias_apart: bool = False) -> bytes:
    """x (n, 3) -> Relu -> a linear layer -> logits (n, 2)."""
    last = [helper.make_node("Gemm", ["hidden", "w", "b"], ["logits"])]
    if bias_apart:
        product = helper.make_node("MatMul", ["hidden", "w"], ["product"])
        last = [product, helper.make_node("Add", ["product", "b"], ["logits"])]
    weights = {"w": np.array([[1, 2], [3, 4], [5, 6]], np.float32), "b": np.array([1, -1], np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["hidden"]), *last],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("n", 2))],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize("bias_apart", [False, True])
def test_the_last_layers_input_is_found_and_can_be_asked_for(bias_apart):
    model = tiny_net(bias_apart=bias_apart)
    name = last_layer_input(model, "logits")
    assert name == "hidden"
    # What `Activations` appends, spelt out: graph (field 7) of one output (field 12) of that name (field 1).
    value = b"\x0a" + bytes([len(name)]) + name.encode()
    output = b"\x62" + bytes([len(value)]) + value
    session = ort.InferenceSession(model + b"\x3a" + bytes([len(output)]) + output)
    x = np.array([[-1, 2, 3]], np.float32)
    hidden, logits = session.run([name, "logits"], {"x": x})
    np.testing.assert_array_equal(hidden, [[0, 2, 3]])
    np.testing.assert_array_equal(logits, [[22, 25]])
    assert len(onnx.load_from_string(model + b"\x3a" + bytes([len(output)]) + output).graph.output) == 2


@pytest.mark.parametrize("model", ["blood", "marrow"])
def test_it_is_found_behind_a_factor_too(model):
    assert last_layer_input(find_model(model)["classify"].onnx.read_bytes(), "logits") == "features"


def test_a_classifier_without_a_linear_layer_gives_its_logits(tmp_path):
    classifier = Activations(read_bundle(make_classifier(tmp_path)))
    assert classifier.name is None
    pixels = np.full((2, 32, 32, 3), 90, np.uint8)
    seen, logits = classifier.run(pixels=pixels)
    np.testing.assert_array_equal(seen, logits)


def test_a_cut_model_is_refused():
    with pytest.raises(ModelError, match="damaged"):
        last_layer_input(b"\x3a\xff", "logits")


def test_margins_of_a_hand_worked_example():
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.1, 0.6, 0.3]])
    np.testing.assert_allclose(normalised_margin(probs, np.array([0, 0, 1])), [0.75, 0.25, 0.65])
    # Classes 0 and 1 don't contradict each other: their probabilities stand together.
    related = np.zeros((3, 3), bool)
    related[0, 1] = related[1, 0] = True
    np.testing.assert_allclose(normalised_margin(probs, np.array([0, 0, 1]), related), [0.9, 0.7, 0.7])


def test_neutrophil_and_band_neutrophil_do_not_contradict_each_other():
    assert are_related("neutrophil", "band_neutrophil") and are_related("band_neutrophil", "neutrophil")
    assert not are_related("segmented_neutrophil", "band_neutrophil")
    assert not are_related("lymphocyte", "monocyte")


def test_agreement_beyond_chance():
    labels = np.array([0, 0, 1, 1])
    assert agreement_beyond_chance(labels, labels) == 1
    assert agreement_beyond_chance(np.zeros(4, int), labels) == 0
    assert agreement_beyond_chance(1 - labels, labels) == 0
    assert agreement_beyond_chance(np.array([0, 0, 1, 0]), labels) == pytest.approx(0.5)


def test_no_group_is_split_and_each_fold_gets_each_class():
    labels = np.repeat([0, 1], 30)
    groups = np.repeat(np.arange(20), 3)
    folds = deal_folds(labels, groups, seed=3)
    assert all(len(set(folds[groups == g])) == 1 for g in range(20))
    assert all(np.bincount(folds[labels == k], minlength=5).tolist() == [6] * 5 for k in (0, 1))
    assert folds.tolist() != deal_folds(labels, groups, seed=4).tolist()


def test_the_head_is_the_penalised_optimum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    weights = fit_head(x, y, n_classes=3)

    def loss(w):
        z = np.concatenate([x, np.ones((200, 1))], 1) @ w
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -logp[np.arange(200), y].mean() + 0.05 * (w[:-1] ** 2).sum() + 0.0005 * (w[-1] ** 2).sum()

    for _ in range(20):
        assert loss(weights) < loss(weights + 0.02 * rng.normal(size=weights.shape))


def test_a_prediction_never_depends_on_the_cells_own_label():
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 5)) + 3 * np.eye(5)[labels]
    groups = np.arange(60) // 2
    before = out_of_fold_probs(features, labels, groups, n_classes=3, seed=0)
    flipped = labels.copy()
    flipped[7] = (labels[7] + 1) % 3
    folds = deal_folds(labels, groups, seed=0)
    assert (folds == deal_folds(flipped, groups, seed=0)).all(), "choose a row whose flip leaves the folds as they are"
    after = out_of_fold_probs(features, flipped, groups, n_classes=3, seed=0)
    np.testing.assert_array_equal(before[folds == folds[7]], after[folds == folds[7]])
    assert np.abs(before - after).max() > 1e-6  # the other folds' heads did see it
    assert (before.argmax(1) == labels).mean() > 0.9

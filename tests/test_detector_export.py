"""A trained detector as a bundle: the ONNX graph says what torch says, and the card what was trained on."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from data.later import Later
from data.make_painted_set import paint_set

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")
Later("onnxscript", reason="the exporter needs it")
onnxruntime = pytest.importorskip("onnxruntime")
linear_sum_assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment

from data.tiny_detector import TINY  # noqa: E402

from leukoscope.dataset.detection import WBC_OTHER  # noqa: E402
from leukoscope.errors import ConfigError  # noqa: E402
from leukoscope.evaluate import evaluate_model  # noqa: E402
from leukoscope.models.bundle import read_bundle  # noqa: E402
from leukoscope.train.detector import bundle as bundle_module  # noqa: E402
from leukoscope.train.detector.bundle import export_detector, fit_temperature  # noqa: E402
from leukoscope.train.detector.predict import read_detector  # noqa: E402
from leukoscope.train.run import train  # noqa: E402


def write_config(path, **changes):
    values = {k: v for k, v in (asdict(TINY) | changes).items() if v is not None}
    text = "\n".join(f"{k} = {toml(v)}" for k, v in values.items())
    path.write_text(f'task = "detect"\n{text}\n')
    return path


def toml(value):
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else repr(value)


def agree(boxes, scores, expected_boxes, expected):
    """Each box has its own twin within 0.5 px whose scores are within 1e-4; equal scores may change places."""
    far = np.abs(boxes[:, None] - expected_boxes).max(2) > 0.5
    other = np.abs(scores[:, None] - expected).max(2) > 1e-4
    pairs = linear_sum_assignment((far | other).astype(float))
    assert not (far | other)[pairs].any()


@pytest.mark.slow
@pytest.mark.parametrize(("taxonomy", "task"), [("wbc-other", "locate"), ("pcm-9", "detect")])
def test_torch_and_onnx_agree_and_the_bundle_is_measured(tmp_path, monkeypatch, taxonomy, task):
    """A locator's graph is a detector's with a choice of columns behind it: the newer exporter, fifteen seconds of a
    core, writes that one, and the older one the other."""
    if task == "detect":
        monkeypatch.setattr(bundle_module, "export_graph", partial(bundle_module.export_graph, traced=True))
    data = paint_set(tmp_path / "set")
    config = write_config(tmp_path / "c.toml", taxonomy=taxonomy, epochs=1, plain_epochs=0)
    run = train(config, [tmp_path / "set" / "set"], tmp_path / "run")
    bundle = read_bundle(run / "bundle")
    assert bundle.card.task == task and bundle.card.input_size == (64, 64) and bundle.card.licence == "Apache-2.0"
    assert bundle.card.training["arch"] == "rtdetrv2-tiny" and bundle.card.limits == ("painted fields only",)
    assert bundle.card.training["threshold_chosen_on"][0]["n_fields"] == 2

    detector = read_detector(run)
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for _ in range(3):
        pixels = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
        boxes, scores = session.run(["boxes", "scores"], {"pixels": pixels})
        with torch.no_grad():
            expected_boxes, expected = (t.numpy() for t in detector.graph(torch.from_numpy(pixels)))
        if task == "locate":
            expected = expected[:, WBC_OTHER.index("white_cell")]
        assert scores.shape == expected.shape and (np.diff(scores.reshape(len(boxes), -1).max(1)) <= 0).all()
        agree(boxes, scores.reshape(len(boxes), -1), expected_boxes, expected.reshape(len(boxes), -1))
    result = evaluate_model(run / "bundle", data, "test", tmp_path / "out")
    assert result["location"]["n_truth"] == 2 and ("detection" in result) == (task == "detect")


def test_the_temperature_makes_certainty_honest():
    """Seven of ten right at a stated 0.95: the temperature that says 0.7 again."""
    probs = np.tile([0.95, 0.05], (10, 1))
    temperature = fit_temperature(probs, np.array([0] * 7 + [1] * 3))
    spread = probs[0] ** (1 / temperature)
    assert spread[0] / spread.sum() == pytest.approx(0.7, abs=0.02)
    assert fit_temperature(probs[:0], np.zeros(0, np.int64)) == 1.0


def test_a_network_that_onnx_gets_wrong_has_no_bundle(tmp_path):
    (tmp_path / "run.json").write_text('{"task": "detect", "arch": "deimv2-n"}')
    with pytest.raises(ConfigError, match="has no bundle"):
        export_detector(tmp_path, tmp_path / "bundle", validation=[], command="x", commit="x")
    assert not (tmp_path / "bundle").exists()

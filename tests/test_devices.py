"""Where models run: what is not here falls back with a line that says how to get it, and the record says what ran."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime as ort
import pytest
from data.make_bundles import make_model, noisy_field
from PIL import Image

from leukoscope import doctor
from leukoscope.cli import main
from leukoscope.errors import InputError, ModelError
from leukoscope.models import devices
from leukoscope.models.devices import Device, choose_device
from leukoscope.pipeline import AnalyzeOptions, analyze, on_ray

PROCESSOR_ALONE = ["CPUExecutionProvider"]


@pytest.fixture(autouse=True)
def chosen_anew():
    choose_device.cache_clear()
    yield
    choose_device.cache_clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def smears(tmp_path) -> Path:
    (tmp_path / "anna").mkdir()
    for number in range(2):
        Image.fromarray(noisy_field(number, 96, 128)).save(tmp_path / "anna" / f"{number}.png")
    return tmp_path / "anna"


def test_a_device_that_is_not_here_falls_back_and_says_how_to_get_it(smears, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ort, "get_available_providers", lambda: PROCESSOR_ALONE)
    assert choose_device("auto") == choose_device("cpu") == Device()
    openvino = choose_device("openvino")
    assert openvino.name == "cpu" and "--no-deps onnxruntime-openvino" in openvino.note
    words = ["analyze", str(smears), "--out", str(tmp_path / "out"), "--model", str(model), "--device", "cuda"]
    assert main(words) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(said) == 1 and "onnxruntime-gpu" in said[0] and "run on the processor" in said[0]
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["provenance"]["runs_on"] == {"device": "cpu", "precision": "float32"}


@pytest.mark.parametrize("name", ["cuda", "openvino"])
def test_a_device_that_is_listed_and_does_not_start_is_not_taken(name, monkeypatch):
    provider = devices._PROVIDERS[name][0]
    monkeypatch.setattr(ort, "get_available_providers", lambda: [provider, *PROCESSOR_ALONE])
    monkeypatch.setattr(devices, "_tried", lambda name: PROCESSOR_ALONE)  # as without a driver
    assert "does not start" in choose_device(name).note
    choose_device.cache_clear()

    def fails(name):
        raise RuntimeError("libcudnn.so.9: cannot open shared object file\nmore")

    monkeypatch.setattr(devices, "_tried", fails)
    assert "libcudnn.so.9" in choose_device(name).note and "\n" not in choose_device(name).note
    choose_device.cache_clear()
    monkeypatch.setattr(devices, "_tried", lambda name: [provider])
    chosen = choose_device(name)
    assert chosen == Device(name) and [chosen.providers()[0][0], chosen.providers()[1]] == [provider, *PROCESSOR_ALONE]


def test_trying_a_device_runs_a_graph_there(monkeypatch):
    monkeypatch.setattr(Device, "providers", lambda self: PROCESSOR_ALONE)
    assert devices._tried("cuda") == PROCESSOR_ALONE


def test_a_run_on_one_device_does_not_go_on_on_another(smears, model, tmp_path, monkeypatch):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze([smears], tmp_path / "out", model=model, progress=stop)
    monkeypatch.setattr(devices, "why_not", lambda name: None)
    with pytest.raises(InputError, match="device was None, is openvino"):
        analyze([smears], tmp_path / "out", model=model, resume=True, options=AnalyzeOptions(device="openvino"))


def test_a_worker_without_the_drivers_device_says_so(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: PROCESSOR_ALONE)
    setup = on_ray.setup_of({}, um_per_px=None, tile_px=None, device=Device("cuda"))
    with pytest.raises(ModelError, match="cuda can't be used: .*the driver's run on cuda"):
        on_ray._analyzer.__wrapped__(setup)


def test_unknown_devices_are_refused():
    with pytest.raises(InputError, match="device must be one of auto, cpu, cuda, openvino"):
        AnalyzeOptions(device="tpu")
    with pytest.raises(ModelError, match="device must be one of"):
        choose_device("tpu")


def test_the_doctor_lists_devices_and_takes_any_build(monkeypatch):
    real = doctor._version
    builds = {"onnxruntime": None, "onnxruntime-openvino": "1.24"}
    monkeypatch.setattr(doctor, "_version", lambda name: builds.get(name, real(name)) if name in builds else real(name))
    found = {f.topic: f for f in doctor.examine()}
    assert {"analysis runs on", "analysis on cuda", "analysis on openvino"} <= set(found)
    assert found["default install"].ok and "missing" not in found

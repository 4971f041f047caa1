"""Where models run: the processor, a graphics card (CUDA) or OpenVINO, whichever of ONNX Runtime's builds is installed.

All run in single precision: another device gives the same calls but for numbers that lie on a rounding's edge.
"""

from dataclasses import dataclass
from functools import lru_cache

from leukoscope.errors import ModelError

CPU = "cpu"
# ONNX Runtime's builds: each brings the module `onnxruntime`, so the one that was installed last is there.
BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
# Name, ONNX Runtime's provider, its options, how to get it. TF32 and bfloat16 would be quicker and less exact.
_PROVIDERS: dict[str, tuple[str, dict[str, str], str]] = {
    CPU: ("CPUExecutionProvider", {}, ""),
    "cuda": (
        "CUDAExecutionProvider",
        {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
        "pip install 'leukoscope[cuda]', then pip install --force-reinstall --no-deps onnxruntime-gpu",
    ),
    "openvino": (
        "OpenVINOExecutionProvider",
        {"device_type": "CPU", "precision": "FP32", "num_of_threads": "1"},
        "pip install 'leukoscope[openvino]', then pip install --force-reinstall --no-deps onnxruntime-openvino",
    ),
}
DEVICES = ("auto", *_PROVIDERS)  # what may be asked for; auto: cuda where it works, else the processor


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run. note: why it is not what was asked for, and how to get that; None where it is."""

    name: str = CPU
    note: str | None = None
    precision: str = "float32"

    def providers(self) -> list:
        """For ONNX Runtime: what the first one does not know the processor does."""
        name, options, _ = _PROVIDERS[self.name]
        cpu = _PROVIDERS[CPU][0]
        return [cpu] if self.name == CPU else [(name, options), cpu]

    def facts(self) -> dict[str, str]:
        """For a record's provenance."""
        return {"device": self.name, "precision": self.precision}


PROCESSOR = Device()


@lru_cache
def choose_device(asked: str) -> Device:
    """The device to run on: the one that was asked for where it works here, else the processor, with a note that says
    why."""
    if asked not in DEVICES:
        raise ModelError(f"device must be one of {', '.join(DEVICES)}, got {asked!r}")
    if asked == "auto":
        return Device("cuda") if why_not("cuda") is None else Device()
    why = why_not(asked)
    note = f"{asked} can't be used: {why}. The models run on the processor"
    return Device(asked) if why is None else Device(note=note)


def why_not(name: str) -> str | None:
    """Why a device can't be used here, and how to get it; None where it can."""
    import onnxruntime as ort

    if name == CPU:
        return None
    provider, _, how = _PROVIDERS[name]
    if provider not in ort.get_available_providers():
        return f"{build()} has no {provider}; {how}"
    try:
        found = _tried(name)
    except Exception as error:  # each provider fails in its own way: no driver, no card, another version of a library
        return f"{provider} does not start: {' '.join(str(error).split())[:160]}"
    if provider not in found:
        return f"{provider} does not start: is there a device, its driver, and the libraries that it needs?"
    return None


def build() -> str:
    """The build of ONNX Runtime that is installed, with its version."""
    from importlib import metadata

    for package in reversed(BUILDS):  # where two were installed the special one was meant
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    import onnxruntime as ort

    return f"onnxruntime {ort.__version__}"


def _tried(name: str) -> list[str]:
    """The providers of a session of the smallest graph there is (y = x), asked to run on a device."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(_IDENTITY, options, providers=Device(name).providers())
    session.run(None, {"x": np.ones(1, np.float32)})
    return session.get_providers()


# An ONNX model (IR 8, opset 13) with one node: Identity(x) → y, float32 of one number.
_IDENTITY = bytes.fromhex(
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a0808011204"
    "0a02080142040a00100d"
)

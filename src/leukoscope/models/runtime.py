"""Running a bundle's ONNX file on ONNX Runtime: a thin wrapper that checks what goes in and what comes out."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from leukoscope.errors import ModelError
from leukoscope.models.bundle import Bundle, Card
from leukoscope.models.devices import PROCESSOR, Device

# Inputs and outputs by task. Pixels are uint8 RGB (locate and detect: one letterboxed field, classify: N crops): the
# normalisation is part of the graph. `diameter_um` is optional: the longer side of each cell's box, 0 where the
# scale is unknown. A detector's scores are (K, C), a column a class. Optional outputs are "attributes" (N, V), what the
# model says of a cell beside its class, and "features" (N, F), what its last layer hears: how like two cells are.
# An outliner takes N crops and their boxes (N, 4) px, and gives probs (N, 3, S, S): background, cytoplasm, nucleus.
INPUTS = {
    "locate": ({"pixels"}, set()),
    "classify": ({"pixels"}, {"diameter_um"}),
    "detect": ({"pixels"}, set()),
    "outline": ({"pixels", "boxes"}, set()),
}
OUTPUTS = {"locate": ("boxes", "scores"), "classify": ("logits",), "detect": ("boxes", "scores"), "outline": ("probs",)}
OPTIONAL_OUTPUTS = {"classify": ("attributes", "features")}


def session_options(threads: int = 1) -> Any:
    """ONNX Runtime's options of every session: `threads` of one call, and errors alone in its log."""
    import onnxruntime as ort  # 0.2 s: only those who run a model pay for it

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return options


class Session:
    """A model ready to run. Safe to share between threads; its results do not depend on their number.

    card    the bundle's card
    inputs  names of the graph's inputs
    outputs  names of the outputs that `run_named` gives
    side_step  where a locator's graph takes pictures of any sides that are multiples of a number, that number: its
               axes are named so ("32*height"). None: sides are the card's
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, device: Device = PROCESSOR) -> None:
        """`threads`: of one call; `device`: where it runs. Raises ModelError when the file is not ONNX or has other
        inputs or outputs."""
        import onnxruntime as ort  # 0.2 s: only those who run a model pay for it
        from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

        options = session_options(threads)
        load_errors = (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf, ort_errors.NotImplemented)
        self._failures = (ort_errors.Fail, ort_errors.RuntimeException, ort_errors.EPFail)
        try:
            self._session = ort.InferenceSession(str(bundle.onnx), options, providers=device.providers())
        except ort_errors.RuntimeException as error:
            raise _explained(bundle.card.name, error) from None
        except load_errors as error:
            raise ModelError(f"{bundle.onnx} can't be loaded: {str(error).splitlines()[0]}") from None
        self.card: Card = bundle.card
        self.inputs = frozenset(i.name for i in self._session.get_inputs())
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        self.side_step = _side_step(shapes.get("pixels", ())) if bundle.card.task == "locate" else None
        self._outputs = OUTPUTS[self.card.task]
        self._check(bundle)
        has = {o.name for o in self._session.get_outputs()}
        self.outputs = (*self._outputs, *(n for n in OPTIONAL_OUTPUTS.get(self.card.task, ()) if n in has))
        if self.card.attributes is not None and "attributes" not in self.outputs:
            raise ModelError(f"{bundle.onnx} has no output 'attributes', which its card describes: copy it anew")

    def _check(self, bundle: Bundle) -> None:
        required, optional = INPUTS[self.card.task]
        outputs = {o.name for o in self._session.get_outputs()}
        if not required <= self.inputs <= required | optional or not set(self._outputs) <= outputs:
            raise ModelError(
                f"{bundle.onnx} does not fit task {self.card.task!r}: expected inputs {', '.join(sorted(required))} "
                f"(and perhaps {', '.join(sorted(optional)) or 'no other'}) and outputs {', '.join(self._outputs)}; "
                f"got inputs {', '.join(sorted(self.inputs))} and outputs {', '.join(sorted(outputs))}"
            )

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """The task's outputs in the order of OUTPUTS. ModelError when they are not finite numbers."""
        return self._run(self._outputs, inputs)

    def run_named(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Every output that the task knows and the model has, by name; the graph runs once."""
        return dict(zip(self.outputs, self._run(self.outputs, inputs), strict=True))

    def _run(self, names: tuple[str, ...], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            outputs = self._session.run(names, inputs)
        except self._failures as error:
            raise _explained(self.card.name, error) from None
        if not all(np.isfinite(o).all() for o in outputs):
            raise ModelError(f"model {self.card.name!r} gave values that are not finite numbers: it is damaged")
        return outputs


def _side_step(shape: Sequence[int | str | None]) -> int | None:
    """The number that both sides of a picture (N, H, W, 3) are multiples of, by the names of its axes."""
    named = [re.fullmatch(r"([1-9]\d*)\*\w+", str(side)) for side in shape[1:3]]
    steps = {int(name[1]) for name in named if name}
    return steps.pop() if len(named) == 2 and all(named) and len(steps) == 1 else None


def _explained(model: str, error: Exception) -> Exception:
    """ONNX Runtime says by text alone that the memory did not suffice."""
    text = str(error).splitlines()[0]
    if any(w in text.lower() for w in ("bad_alloc", "bad allocation", "allocate memory", "out of memory")):
        return MemoryError(f"model {model!r}: {text}")
    return ModelError(f"model {model!r} failed: {text}")

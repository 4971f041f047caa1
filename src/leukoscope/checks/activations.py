"""What a classifier sees before it decides: the input of its last layer, read from the ONNX file itself.

ONNX Runtime returns graph outputs only. An ONNX file is a protocol buffer, and in one the fields of a message that
stands twice are merged: a second graph of one output, written after the file's bytes, adds that output. So neither
torch nor the `onnx` package is needed.
"""

from collections.abc import Iterator

import numpy as np

from leukoscope.errors import ModelError
from leukoscope.models.bundle import Bundle
from leukoscope.models.runtime import session_options

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_OUTPUT, _NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _VALUE_NAME = 7, 1, 12, 1, 2, 4, 1
_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 5: 4}
_LINEAR = ("Gemm", "MatMul")


class Activations:
    """A classifier that gives, beside its logits, the input of its last linear layer.

    name      the tensor that is read; None where the last layer is not linear: the logits stand for it
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Raises ModelError when the file can't be loaded."""
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

        model = bundle.onnx.read_bytes()
        self.name = last_layer_input(model, "logits")
        if self.name is not None:
            model += _message(_MODEL_GRAPH, _message(_GRAPH_OUTPUT, _message(_VALUE_NAME, self.name.encode())))
        options = session_options(threads)
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except (ort_errors.Fail, ort_errors.InvalidGraph, ort_errors.InvalidProtobuf) as error:
            raise ModelError(f"{bundle.onnx} can't be loaded: {str(error).splitlines()[0]}") from None
        self.card = bundle.card
        self.inputs = frozenset(i.name for i in self._session.get_inputs())

    def run(self, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Activations (N, F) and logits (N, C), float32. ModelError when they are not finite numbers."""
        outputs = self._session.run([self.name or "logits", "logits"], inputs)
        if not all(np.isfinite(o).all() for o in outputs):
            raise ModelError(f"model {self.card.name!r} gave values that are not finite numbers: it is damaged")
        seen, logits = outputs
        return seen.reshape(len(logits), -1), logits


def last_layer_input(model: bytes, output: str) -> str | None:
    """Name of the tensor that the linear layer behind `output` reads; else None. A bias may be added between, and the
    answer multiplied (by how near a cell is to those known)."""
    graphs = [value for field, value in _fields(model) if field == _MODEL_GRAPH]
    made_by: dict[str, tuple[str, list[str]]] = {}
    for graph in graphs:
        for field, node in _fields(graph):
            if field != _GRAPH_NODE:
                continue
            parts = list(_fields(node))
            kind = next((v.decode() for f, v in parts if f == _NODE_OP), "")
            read = [v.decode() for f, v in parts if f == _NODE_INPUT]
            for f, v in parts:
                if f == _NODE_OUTPUT:
                    made_by[v.decode()] = (kind, read)
    kind, read = made_by.get(output, ("", []))
    if kind in ("Add", "Mul"):
        kind, read = next((made_by[r] for r in read if made_by.get(r, ("",))[0] in _LINEAR), ("", []))
    return read[0] if kind in _LINEAR and read[0] in made_by else None


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """(field number, value) of the length-delimited fields of one protocol-buffer message; others are passed over."""
    view, offset = memoryview(message), 0
    while offset < len(view):
        tag, offset = _varint(view, offset)
        field, kind = tag >> 3, tag & 7
        if kind == _LENGTH_DELIMITED:
            length, offset = _varint(view, offset)
            yield field, bytes(view[offset : offset + length])
            offset += length
        elif kind == 0:
            _, offset = _varint(view, offset)
        elif kind in _FIXED_BYTES:
            offset += _FIXED_BYTES[kind]
        else:
            raise ModelError(f"an ONNX file can't hold a field of wire type {kind}: it is damaged; copy it again")


def _varint(view: memoryview, offset: int) -> tuple[int, int]:
    value = shift = 0
    while offset < len(view):
        byte = view[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise ModelError("an ONNX file ends in the middle of a number: it is damaged; copy it again")


def _message(field: int, value: bytes) -> bytes:
    """One length-delimited field."""
    return _encode(field << 3 | _LENGTH_DELIMITED) + _encode(len(value)) + value


def _encode(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

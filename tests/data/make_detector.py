"""A one-stage detector bundle without training: it sees the same cells on every picture."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from leukoscope.models.bundle import Card, write_card
from leukoscope.taxonomy import Taxonomy

SIDE = 96
TAXONOMY = Taxonomy(
    "three", ("lymphocyte", "myeloblast", "other"), ("lymphocyte", "myeloblast"), ("myeloblast",), ("other",)
)
BOXES = np.array([[8, 8, 30, 30], [50, 10, 80, 40], [10, 10, 30, 31], [40, 50, 60, 70]], np.float32)
SCORES = np.array([[0.8, 0.1, 0.0], [0.2, 0.6, 0.0], [0.1, 0.5, 0.0], [0.0, 0.1, 0.4]], np.float32)


def make_detector(folder: Path, *, temperature: float = 1.0, boxes=BOXES, scores=SCORES, task: str = "detect") -> Path:
    """A bundle whose graph adds nothing to its constant answers but a zero made of the pixels."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["raw"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["all_boxes", "nothing"], ["boxes"]),
        helper.make_node("Add", ["all_scores", "nothing"], ["scores"]),
    ]
    constants = {"zero": np.float32(0), "all_boxes": boxes, "all_scores": scores}
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, (1, SIDE, SIDE, 3))],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, boxes.shape),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores.shape),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    card = Card(
        name="one-stage",
        task=task,
        onnx_sha256=hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        input_size=(SIDE, SIDE),
        white_balance=False,
        taxonomy=TAXONOMY,
        crop=None,
        temperature=temperature,
        thresholds={"score": 0.3, "nms_iou": 0.7},
        training={},
        results=(),
        confusion=None,
        limits=(),
        licence="CC0",
        description="the same cells on every picture",
    )
    write_card(card, folder / "card.json")
    return folder

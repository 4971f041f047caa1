"""A bundle's network back in torch, and a bundle again with other weights in the same graph.

The ONNX file of a classifier trained here keeps the names of its weights, so a laboratory needs the bundle only, not
the run it came from. The adapted weights replace the old ones by name: whatever else the graph holds stays.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from leukoscope.errors import ModelError
from leukoscope.files import write_bytes
from leukoscope.models.bundle import Bundle, Card, write_card
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.models.torch_nearness import NearnessScale

_WRAPPED = "model."  # before each name where the graph also gives attributes
SECOND = "second."  # before each name of a second trunk


def read_network(bundle: Bundle) -> CellClassifier:
    """The bundle's classifier in torch, in evaluation mode.

    ModelError when its ONNX file is not of a `CellClassifier` (another architecture, or weights renamed by an
    optimiser): such a model can be trained anew with `leukoscope train`, not adapted.
    """
    import onnx
    from onnx import numpy_helper

    if bundle.card.task != "classify":
        raise ModelError(f"{bundle.path} is a model to {bundle.card.task}: only classifiers can be adapted")
    graph = onnx.load(str(bundle.onnx)).graph
    stored = {i.name.removeprefix(_WRAPPED): numpy_helper.to_array(i) for i in graph.initializer}
    joined = any(name.startswith(SECOND) for name in stored)
    network = CellClassifier(len(bundle.card.taxonomy.names), pretrained=False, joined=joined)
    if (means := stored.get("nearness.means")) is not None:
        network.nearness = NearnessScale(*means.shape)
    expected = network.state_dict()
    # Where both trunks have the same weights (blocks that never trained), the exporter keeps the first's alone.
    stored = {n: stored[n.removeprefix(SECOND)] for n in expected if n.removeprefix(SECOND) in stored} | stored
    odd = [n for n, value in expected.items() if n not in stored or stored[n].shape != tuple(value.shape)]
    if odd:
        raise ModelError(
            f"{bundle.onnx} is not a classifier that can be adapted: expected the weights of a Lite0 cell classifier, "
            f"and {odd[0]} ({len(odd)} in all) is missing or of another shape; train one with `leukoscope train`"
        )
    network.load_state_dict({name: torch.from_numpy(stored[name].astype(np.float32)) for name in expected})
    return network.eval()


@torch.no_grad()
def set_last_layer(network: CellClassifier, weights: np.ndarray) -> None:
    """Put a last layer (F + 1, C), intercept last, into the network."""
    network.fc.weight.copy_(torch.from_numpy(weights[:-1].T.astype(np.float32)))
    network.fc.bias.copy_(torch.from_numpy(weights[-1].astype(np.float32)))


def write_adapted(bundle: Bundle, network: CellClassifier, out: str | Path, *, card_changes: dict) -> Bundle:
    """Write a bundle into folder `out`: the graph of `bundle` with the weights of `network`.

    Each is stored in as many bits as there: a joined classifier's convolutions are rounded to sixteen.

    card_changes  fields of the card that differ (name, training, temperature, results, confusion, limits, description)
    """
    import onnx

    model = onnx.load(str(bundle.onnx))
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    named = {i.name: i.name.removeprefix(_WRAPPED) for i in model.graph.initializer}
    replace_weights(model.graph, {full: weights[short] for full, short in named.items() if short in weights})
    # What was measured of the old weights is not true of these; what they once learnt from (real APL cells) is.
    kept = {key: value for key, value in (bundle.card.clinical or {}).items() if key == "apl"}
    changes = {"confusion_by_patient": None, "clinical": kept or None, **card_changes}
    return write_changed(bundle, model.SerializeToString(), out, card_changes=changes)


def replace_weights(graph, weights: dict[str, np.ndarray]) -> None:
    """Put new values into the initializers of an ONNX graph, by name, each in the number type that it has there."""
    from onnx import numpy_helper

    for initializer in graph.initializer:
        if initializer.name in weights:
            kind = numpy_helper.to_array(initializer).dtype
            value = np.asarray(weights[initializer.name], kind, order="C")  # ascontiguousarray makes rows of numbers
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))


def write_changed(bundle: Bundle, content: bytes, out: str | Path, *, card_changes: dict) -> Bundle:
    """Write an ONNX file's content and the card of `bundle` with its digest and changes into folder `out`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "model.onnx", content)
    card: Card = replace(bundle.card, onnx_sha256=hashlib.sha256(content).hexdigest(), **card_changes)
    write_card(card, out / "card.json")
    return Bundle(card, out)

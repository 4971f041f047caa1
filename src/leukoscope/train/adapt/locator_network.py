"""A locator bundle's network back in torch, and a bundle again with other weights in the same graph.

A laboratory needs the bundle only, not the run it came from.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from leukoscope.errors import ModelError
from leukoscope.models.bundle import Bundle
from leukoscope.models.torch_lite import fold_norms
from leukoscope.models.torch_locator import ExportedLocator, LocatorNet
from leukoscope.models.torch_onnx import check_graph, round_to_half
from leukoscope.train.adapt.network import replace_weights, write_changed

_WRAPPED = "net."  # before each name: the graph that ships decodes boxes round the network
_WIDENED = ".widened"  # weights stored in sixteen bits pass a node of this name (`torch_onnx.store_halved`)


def read_locator_network(bundle: Bundle) -> LocatorNet:
    """The bundle's locator in torch, norms of its backbone folded, in evaluation mode.

    ModelError when its ONNX file is not of a `LocatorNet`, or its weights were renamed by an optimiser or stored in
    eight bits: such a model can be trained anew with `leukoscope train`, not adapted.
    """
    import onnx
    from onnx import numpy_helper

    if bundle.card.task != "locate":
        raise ModelError(f"{bundle.path} is a model to {bundle.card.task}, not a locator")
    graph = onnx.load(str(bundle.onnx)).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    stored = {n.removeprefix(_WRAPPED): value for n, value in constants.items() if n.startswith(_WRAPPED)}
    stored |= {name: constants[node.input[slot]] for name, ((node, slot), *_) in _norms(graph).items()}
    levels = {int(name.split(".")[1]) for name in stored if name.startswith("smooth.")}
    width = len(stored.get("score_tower.0.weight", ()))
    if not levels or not width:
        raise ModelError(_refusal(bundle, "score_tower.0.weight", 1))
    network = LocatorNet(levels=tuple(sorted(levels)), width=width, pretrained=False)
    fold_norms(network.backbone)
    expected = network.state_dict()
    odd = [n for n, v in expected.items() if n not in stored or stored[n].size != v.numel()]
    if odd:
        raise ModelError(_refusal(bundle, odd[0], len(odd)))
    network.load_state_dict(
        {n: torch.from_numpy(stored[n].astype(np.float32)).reshape(v.shape) for n, v in expected.items()}
    )
    return network.eval()


def write_locator(
    bundle: Bundle, network: LocatorNet, out: str | Path, *, checked: np.ndarray, card_changes: dict
) -> Bundle:
    """Write a bundle into folder `out`: the graph of `bundle` with the weights of `network`, convolutions rounded to
    the sixteen bits that they are stored in (in `network` too).

    checked       pixels (1, H, W, 3) uint8, input-sized, on which the graph must give what torch gives (ModelError)
    card_changes  fields of the card that differ
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(bundle.onnx))
    weights = {name: value.numpy() for name, value in round_to_half(network).eval().state_dict().items()}
    here = {i.name for i in model.graph.initializer}
    for name, places in _norms(model.graph).items():
        if _WRAPPED + name not in here:  # the exporter's nameless constant, which several norms may share
            shape = next(numpy_helper.to_array(i).shape for i in model.graph.initializer if i.name == _input(places))
            value = numpy_helper.from_array(weights[name].reshape(shape), _WRAPPED + name)
            model.graph.initializer.append(value)
            for node, slot in places:
                node.input[slot] = value.name
    full_names = {_WRAPPED + name: value for name, value in weights.items()}
    shaped = {
        i.name: full_names[i.name].reshape(tuple(i.dims)) for i in model.graph.initializer if i.name in full_names
    }
    replace_weights(model.graph, shaped)
    written = write_changed(bundle, model.SerializeToString(), out, card_changes=card_changes)
    check_graph(ExportedLocator(network), (checked,), written.onnx, inputs=("pixels",), outputs=("boxes", "scores"))
    return written


def _input(places: list) -> str:
    node, slot = places[0]
    return node.input[slot]


def _refusal(bundle: Bundle, name: str, n: int) -> str:
    return (
        f"{bundle.onnx} is not a locator that can be adapted: expected the weights of a locator trained by "
        f"`leukoscope train` (task locate), and {name} ({n} in all) is missing or of another shape; adapt the model "
        "that it was made from, or train one"
    )


def _norms(graph) -> dict[str, list]:
    """Where the weights of group norms stand: {name in the network: [(node, which of its inputs)]}.

    The exporter writes a group norm as plain arithmetic, so its weights are what the output of the convolution before
    it is multiplied with, and what is added then.
    """
    constants = {i.name for i in graph.initializer}
    readers, places = defaultdict(list), defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for conv in graph.node:
        if conv.op_type != "Conv" or len(conv.input) > 2:  # convolutions with a bias have no norm behind them
            continue
        owner = conv.input[1].removesuffix(_WIDENED).removeprefix(_WRAPPED).removesuffix(".0.weight")
        node, kinds = conv, {"Mul": f"{owner}.1.weight", "Add": f"{owner}.1.bias"}
        while kinds and len(readers[node.output[0]]) == 1:
            (node,) = readers[node.output[0]]
            fixed = [slot for slot, name in enumerate(node.input) if name in constants]
            if node.op_type in kinds and fixed:
                places[kinds.pop(node.op_type)].append((node, fixed[0]))
    return dict(places)

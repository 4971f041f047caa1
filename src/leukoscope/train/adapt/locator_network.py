"""A locator bundle's network back in torch, and a bundle again with other weights.

A laboratory needs the bundle only, not the run it came from.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from leukoscope.errors import ModelError
from leukoscope.files import file_digest
from leukoscope.models.bundle import Bundle, write_card
from leukoscope.models.torch_lite import fold_norms
from leukoscope.models.torch_locator import LocatorNet
from leukoscope.train.locator.bundle import write_onnx
from leukoscope.train.run_folder import CARD, ONNX

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
    stored |= {name: constants[constant] for name, constant in _norms(graph).items()}
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
    bundle: Bundle, network: LocatorNet, out: str | Path, *, shown: np.ndarray, card_changes: dict
) -> Bundle:
    """Write a bundle into folder `out`: `network` exported as a trained one is, its convolutions rounded to the sixteen
    bits that they are stored in (in `network` too), and the card of `bundle`.

    shown         pixels (1, H, W, 3) uint8, input-sized, on which the graph must give what torch gives (ModelError)
    card_changes  fields of the card that differ
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(network, max(bundle.card.input_size), out / ONNX, shown=shown)
    card = replace(bundle.card, onnx_sha256=file_digest(out / ONNX), **card_changes)
    write_card(card, out / CARD)
    return Bundle(card, out)


def _refusal(bundle: Bundle, name: str, n: int) -> str:
    return (
        f"{bundle.onnx} is not a locator that can be adapted: expected the weights of a locator trained by "
        f"`leukoscope train` (task locate), and {name} ({n} in all) is missing or of another shape; adapt the model "
        "that it was made from, or train one"
    )


def _norms(graph) -> dict[str, str]:
    """The constants that hold the weights of group norms: {name in the network: name in the graph}.

    The exporter writes a group norm as plain arithmetic, so its weights are what the output of the convolution before
    it is multiplied with, and what is added then.
    """
    constants = {i.name for i in graph.initializer}
    readers, found = defaultdict(list), {}
    for node in graph.node:
        if node.op_type != "Shape":
            for name in node.input:
                readers[name].append(node)
    for conv in graph.node:
        if conv.op_type != "Conv" or len(conv.input) > 2:  # convolutions with a bias have no norm behind them
            continue
        owner = conv.input[1].removesuffix(_WIDENED).removeprefix(_WRAPPED).removesuffix(".0.weight")
        node, kinds = conv, {"Mul": f"{owner}.1.weight", "Add": f"{owner}.1.bias"}
        while kinds and len(readers[node.output[0]]) == 1:
            (node,) = readers[node.output[0]]
            fixed = [name for name in node.input if name in constants]
            if node.op_type in kinds and fixed:
                found[kinds.pop(node.op_type)] = fixed[0]
    return found

"""What is done for speed changes no result but by rounding: compiled parts, channels last, matching by picture.

The compiler's front end is what is tested (backend "aot_eager"): it needs no compiler on the machine.
"""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("transformers", reason="the networks need the extra: pip install '.[study]'")

from leukoscope.models.torch_backbones import build_network, repeated_parts  # noqa: E402
from leukoscope.models.torch_detr import Detr  # noqa: E402
from leukoscope.train.compiled import compile_parts  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.compiler.reset()


def gradients(network, value):
    network.zero_grad()
    value.backward()
    return {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_blocks_give_the_same_logits_and_gradients():
    torch.manual_seed(0)
    network = build_network("tiny-vit", 3, weights=None, size=28, norms="trained")
    pixels = torch.randint(0, 256, (4, 28, 28, 3), dtype=torch.uint8)
    plain = network(pixels)
    expected = gradients(network, plain.square().mean())
    names = set(network.state_dict())
    assert compile_parts(repeated_parts(network), "auto", CPU) == 0  # there is no accelerator here
    assert compile_parts(repeated_parts(network), "on", CPU, backend="aot_eager") == 2
    logits = network(pixels)
    found = gradients(network, logits.square().mean())
    assert torch.allclose(plain, logits, atol=1e-5) and found.keys() == expected.keys()
    assert all(torch.allclose(found[k], v, atol=1e-5) for k, v in expected.items())
    assert set(network.state_dict()) == names and torch.allclose(copy.deepcopy(network)(pixels), plain, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_detector_with_its_channels_last_finds_the_same_boxes():
    torch.manual_seed(0)
    detr = Detr("deim-rtdetrv2-tiny", 2, normalise="unit").eval()
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        plain = detr(pixels)
        detr.to(memory_format=torch.channels_last)
        assert compile_parts((detr.backbone, detr.encoder), "on", CPU, backend="aot_eager") == 2
        after = detr(pixels)
    assert torch.allclose(plain.logits, after.logits, atol=1e-4)
    assert torch.allclose(plain.pred_boxes, after.pred_boxes, atol=1e-4)

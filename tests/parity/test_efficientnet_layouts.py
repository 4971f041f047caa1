"""EfficientNet-B0's published layouts, torchvision's and lukemelas': names, padding and constants as published."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("transformers", reason="the networks need the extra: pip install '.[study]'")

from data.written_out_efficientnet import LAYOUTS, random_state, run  # noqa: E402

from leukoscope.errors import ModelError  # noqa: E402
from leukoscope.models.torch_backbones import arch_of_weights, build_network  # noqa: E402


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_file_gives_its_authors_features(layout, tmp_path):
    state = random_state(layout)
    torch.save(state, tmp_path / "b0.pth")
    arch = arch_of_weights("efficientnet-b0", str(tmp_path / "b0.pth"))
    assert arch == ("efficientnet-b0-torchvision" if layout == "torchvision" else "efficientnet-b0")
    network = build_network(arch, 3, weights=str(tmp_path / "b0.pth"), size=96).eval().double()
    pixels = torch.randint(0, 256, (1, 96, 96, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    expected = run(state, layout, network._normalised(pixels).double())
    found = network.trunk(network._normalised(pixels).double())[0]
    assert found.shape == expected.shape == (1, 1280, 3, 3)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max() and expected.std() > 0.01
    other = random_state(next(x for x in LAYOUTS if x != layout))
    assert (run(other, next(x for x in LAYOUTS if x != layout), network._normalised(pixels).double()) - expected).any()


def test_torchvisions_file_is_refused_where_it_would_give_other_features(tmp_path):
    """Loaded into a network of the other padding it would be another network without a word."""
    torch.save(random_state("torchvision"), tmp_path / "b0.pth")
    with pytest.raises(ModelError, match="torchvision's layout.*efficientnet-b0-torchvision"):
        build_network("efficientnet-b0", 3, weights=str(tmp_path / "b0.pth"), size=96)
    torch.save(random_state("lukemelas"), tmp_path / "b0.pth")
    with pytest.raises(ModelError, match="efficientnet-b0"):
        build_network("efficientnet-b0-torchvision", 3, weights=str(tmp_path / "b0.pth"), size=96)

"""Published RT-DETRv2 and DEIM-RT-DETRv2 files, in their authors' layout with random weights: the network that loads
them gives the logits and boxes of a forward pass that was written out independently (`written_out_rtdetrv2`)."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from data.written_out_rtdetrv2 import SIZES, random_state, run  # noqa: E402

from leukoscope.models.torch_detr import Detr  # noqa: E402
from leukoscope.models.torch_detr_keys import arch_of_file, load_published  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
@pytest.mark.parametrize("name", ["r18", "r34", "r50m", "r50", "deim-r18"])
def test_a_published_file_gives_its_authors_boxes(name, tmp_path):
    """The architecture is asked for without DEIM's name: the file's keys say that it is DEIM's."""
    size = SIZES[name]
    state = random_state(size, n_classes=4)
    torch.save({"ema": {"module": state, "updates": 1}, "last_epoch": 1}, tmp_path / "published.pth")
    arch = arch_of_file(f"rtdetrv2-{name.removeprefix('deim-')}", tmp_path / "published.pth")
    assert arch == f"{'deim-' * size.deim}rtdetrv2-{name.removeprefix('deim-')}"
    detr = Detr(arch, 4, normalise="unit").eval()
    load_published(detr.net, tmp_path / "published.pth")
    pixels = torch.randint(0, 256, (1, 128, 128, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    single = detr(pixels)
    planes = pixels.permute(0, 3, 1, 2).double() / 255
    out = detr.double().net(pixel_values=planes)  # in float64, so that no near tie swaps two queries
    logits, boxes = run(state, size, planes)
    assert (out.logits - logits).abs().max() <= 1e-8 and (out.pred_boxes - boxes).abs().max() <= 1e-8
    assert logits.std() > 0.1 and boxes.std() > 0.05  # queries that differ, not one answer 300 times
    near = ((single.logits - logits).abs().amax(2) <= 1e-4) & ((single.pred_boxes - boxes).abs().amax(2) <= 1e-4)
    assert near.float().mean() > 0.9  # float32 as it is used: all but neighbours in the ranking of first queries

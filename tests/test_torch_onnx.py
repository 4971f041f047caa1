"""The one exporter: every file is compared with torch, one that differs is not left behind."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[train]'")
pytest.importorskip("onnx", reason="the export needs the extra: pip install '.[train]'")

from leukoscope.errors import ModelError  # noqa: E402
from leukoscope.models.torch_onnx import OPSET, _boxes_apart, export_graph, round_to_half  # noqa: E402


class Crops(torch.nn.Module):
    """A convolution and a mean; `frozen`: what the first example's brightness decides is decided for all."""

    def __init__(self, *, frozen: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.frozen = torch.nn.Conv2d(3, 12, 3), frozen

    def forward(self, pixels):
        logits = self.conv(pixels.permute(0, 3, 1, 2).float() / 255).mean((2, 3))
        if self.frozen and bool(pixels.float().mean() > 1):  # traced for black pixels: this way is forgotten
            logits = logits + 1
        return logits


def export(network, path, **how):
    example = (torch.zeros(2, 16, 16, 3, dtype=torch.uint8),)
    export_graph(network, example, path, inputs=("pixels",), outputs=("logits",), rows=True, traced=True, **how)


def test_a_faithful_graph_is_written_and_takes_any_number_of_rows(tmp_path):
    import onnx
    import onnxruntime

    network = round_to_half(Crops())
    for halved in (False, True):
        path = tmp_path / f"{halved}.onnx"
        export(network, path, halved=halved)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), np.uint8)
        (got,) = session.run(None, {"pixels": pixels})
        assert np.abs(got - network(torch.from_numpy(pixels)).detach().numpy()).max() < 1e-5
        proto = onnx.load(str(path))
        assert [o.version for o in proto.opset_import] == [OPSET]
        kinds = {i.data_type for i in proto.graph.initializer if len(i.dims) == 4}
        assert kinds == {onnx.TensorProto.FLOAT16 if halved else onnx.TensorProto.FLOAT}


def test_a_graph_that_differs_from_torch_is_refused_and_removed(tmp_path):
    with pytest.raises(ModelError, match="logits differ from torch's by .* can't be exported faithfully"):
        export(Crops(frozen=True), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
    noise = np.full((3, 16, 16, 3), 200, np.uint8)
    with pytest.raises(ModelError, match="differ"):
        export(Crops(frozen=True), tmp_path / "x.onnx", checked=(noise,))
    export(Crops(frozen=True), tmp_path / "x.onnx", checked=(noise * 0,))  # on what it was made for it is right


def test_a_file_says_nothing_of_the_machine_that_wrote_it(tmp_path):
    example = (torch.zeros(2, 16, 16, 3, dtype=torch.uint8),)
    export_graph(Crops(), example, tmp_path / "x.onnx", inputs=("pixels",), outputs=("logits",))
    assert b".py" not in (tmp_path / "x.onnx").read_bytes()


def test_boxes_may_change_places_but_not_lie_elsewhere():
    rng = np.random.default_rng(2)
    boxes, scores = rng.uniform(0, 640, (40, 4)).astype(np.float32), np.sort(rng.random(40))[::-1].astype(np.float32)
    swapped = np.r_[1, 0, 2:40]
    assert _boxes_apart([boxes, scores], [boxes[swapped], scores[swapped]]) == 0
    moved, paler = boxes.copy(), scores.copy()
    moved[3, 0] += 2
    assert _boxes_apart([boxes, scores], [moved, scores]) == pytest.approx(4, rel=1e-3)  # two pixels: half a one may be
    paler[5] -= 0.01
    assert _boxes_apart([boxes, scores], [boxes, paler]) > 5

"""Tiny model bundles without training: a locator of dark purple blobs and a classifier by mean colour; and fields
with such blobs. They run the whole path in milliseconds and are right about their own pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from leukoscope.models.bundle import Card, CropRule, write_card
from leukoscope.models.words import WordRule
from leukoscope.taxonomy import BLOOD_12, Attribute, AttributeSet, Taxonomy

INPUT_PX = 256  # a side of the locator's input
BOX_PX = 44  # a side of every box it gives, in input px
CROP_PX = 32
TOP_K = 300
STRIDE = 4
KERNEL = 41

# One colour a class: all with little green, as stained nuclei are, and 30 levels or more apart.
COLORS = {
    "band_neutrophil": (110, 40, 160), "segmented_neutrophil": (110, 90, 160), "eosinophil": (180, 40, 100),
    "basophil": (40, 40, 160), "lymphocyte": (40, 90, 160), "monocyte": (110, 90, 90),
    "promyelocyte": (180, 90, 160), "myelocyte": (180, 90, 210), "metamyelocyte": (110, 90, 230),
    "erythroblast": (40, 90, 90), "lymphoblast": (40, 40, 90), "artefact": (30, 100, 30),
}  # fmt: skip
# Two attributes of neutrophils: the tiny classifier is sure of the first; the second is never shown.
ATTRIBUTES = AttributeSet(
    "tiny-2",
    (
        Attribute("lobes", "nucleus", ("one", "many"), ("one lobe", "many lobes"), ("one", "many")),
        Attribute("granularity", "granules", ("no", "yes"), ("none", "present"), ("no", "yes")),
    ),
)
WORDS = WordRule(
    ATTRIBUTES, ("band_neutrophil", "segmented_neutrophil"), (1.0, 1.0), (0.9, None), "sure by construction"
)


def make_model(folder: Path, *, white_balance: bool = False, crop: CropRule | None = None, words: bool = False) -> Path:
    """A model folder with `locator/` and `classifier/`; the same call gives the same bytes."""
    make_locator(folder / "locator", white_balance=white_balance)
    make_classifier(folder / "classifier", white_balance=white_balance, crop=crop, words=words)
    return folder


def make_locator(
    folder: Path, *, white_balance: bool = False, box_px: float = BOX_PX, tile_px: int | None = None
) -> Path:
    """A locator bundle: smoothed darkness in green, local maxima on a grid of STRIDE px, the best TOP_K."""
    cells = INPUT_PX // STRIDE
    middles = (np.arange(cells) + 0.5) * STRIDE
    x, y = (m.ravel() for m in np.meshgrid(middles, middles))
    half = box_px / 2
    all_boxes = np.stack([x - half, y - half, x + half, y + half], 1).astype(np.float32)
    offset = np.arange(KERNEL) - (KERNEL - 1) / 2
    bell = np.exp(-(offset**2) / (2 * (KERNEL / 5) ** 2))
    kernel = np.zeros((1, 3, KERNEL, KERNEL), np.float32)
    kernel[0, 1] = np.outer(bell, bell) / bell.sum() ** 2
    before = (KERNEL - STRIDE) // 2
    pads = [before, before, KERNEL - STRIDE - before, KERNEL - STRIDE - before]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["raw"], ["rgb"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["rgb", "slope"], ["bright"]),
        helper.make_node("Add", ["bright", "offset"], ["darkness"]),
        helper.make_node("Clip", ["darkness", "zero", "one"], ["dark"]),
        helper.make_node("Conv", ["dark", "kernel"], ["smooth"], strides=[STRIDE] * 2, pads=pads),
        helper.make_node("MaxPool", ["smooth"], ["highest"], kernel_shape=[7, 7], pads=[3, 3, 3, 3]),
        helper.make_node("Equal", ["smooth", "highest"], ["is_peak"]),
        helper.make_node("Where", ["is_peak", "smooth", "zero"], ["peaks"]),
        helper.make_node("Reshape", ["peaks", "flat"], ["peak_list"]),
        helper.make_node("Clip", ["peak_list", "zero", "one"], ["all_scores"]),
        helper.make_node("TopK", ["all_scores", "k"], ["scores", "best"]),
        helper.make_node("Gather", ["all_boxes", "best"], ["boxes"]),
    ]
    constants = {
        "slope": np.full((1, 3, 1, 1), -1 / 60, np.float32),  # darkness 1 at green 100 and below, 0 at 160 and above
        "offset": np.full((1, 3, 1, 1), 160 / 60, np.float32),
        "zero": np.float32(0),
        "one": np.float32(1),
        "kernel": kernel,
        "flat": np.array([-1], np.int64),
        "k": np.array([TOP_K], np.int64),
        "all_boxes": all_boxes,
    }
    shape = (1, INPUT_PX, INPUT_PX, 3)
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (TOP_K, 4)),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, (TOP_K,)),
    ]
    thresholds = {"score": 0.5, "nms_iou": 0.4} | ({"tile_px": tile_px} if tile_px else {})
    write_model(folder, nodes, constants, inputs, outputs)
    write_bundle_card(
        folder,
        name="blob-locator",
        task="locate",
        input_size=(INPUT_PX, INPUT_PX),
        thresholds=thresholds,
        white_balance=white_balance,
    )
    return folder


def make_classifier(
    folder: Path,
    *,
    white_balance: bool = False,
    crop: CropRule | None = None,
    taxonomy: Taxonomy = BLOOD_12,
    colors: dict[str, tuple[int, int, int]] = COLORS,
    diameter: bool = False,
    words: bool = False,
) -> Path:
    """A classifier bundle: logits are the squared distances of the crop's middle to each class's colour, negated.

    `diameter`: a second input "diameter_um" that is added to the first class's logit. `words`: a second output, the
    first two classes' logits for either attribute of ATTRIBUTES.
    """
    crop = CropRule(size=CROP_PX, pad_fraction=0.25) if crop is None else crop
    palette = np.array([colors[n] for n in taxonomy.names], np.float32)  # (C, 3)
    size, edge = crop.size, crop.size // 2 - 2
    nodes = [
        helper.make_node("Slice", ["pixels", "start", "stop", "axes"], ["middle"]),
        helper.make_node("Cast", ["middle"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["raw"], ["mean"], axes=[1, 2], keepdims=0),  # (N, 3)
        helper.make_node("Unsqueeze", ["mean", "one"], ["row"]),  # (N, 1, 3)
        helper.make_node("Sub", ["row", "palette"], ["apart"]),  # (N, C, 3)
        helper.make_node("ReduceSumSquare", ["apart"], ["distance"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["distance", "sharpness"], ["colour_logits" if diameter else "logits"]),
    ]
    constants = {
        "start": np.array([edge, edge], np.int64),
        "stop": np.array([size - edge, size - edge], np.int64),
        "axes": np.array([1, 2], np.int64),
        "one": np.array([1], np.int64),
        "palette": palette[None],
        "sharpness": np.float32(-1 / 200),
    }
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ("n", size, size, 3))]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("n", len(palette)))]
    if diameter:
        inputs.append(helper.make_tensor_value_info("diameter_um", TensorProto.FLOAT, ("n",)))
        first = np.zeros((1, len(palette)), np.float32)
        first[0, 0] = 1
        constants["first"] = first
        nodes += [
            helper.make_node("Unsqueeze", ["diameter_um", "one"], ["diameter_column"]),
            helper.make_node("Mul", ["diameter_column", "first"], ["bonus"]),
            helper.make_node("Add", ["colour_logits", "bonus"], ["logits"]),
        ]
    if words:
        constants["pairs"] = np.array([0, 1, 0, 1], np.int64)
        nodes.append(helper.make_node("Gather", ["logits", "pairs"], ["attributes"], axis=1))
        outputs.append(helper.make_tensor_value_info("attributes", TensorProto.FLOAT, ("n", 4)))
    write_model(folder, nodes, constants, inputs, outputs)
    write_bundle_card(
        folder,
        attributes=WORDS if words else None,
        name="colour-classifier",
        task="classify",
        input_size=(size, size),
        taxonomy=taxonomy,
        crop=crop,
        temperature=1.0,
        white_balance=white_balance,
    )
    return folder


def make_outliner(folder: Path, *, size: int = 64, white_balance: bool = False) -> Path:
    """An outliner bundle: in the box and near it, green below 100 is nucleus, below 200 cytoplasm.

    A pixel's claim falls with its distance from the box's middle, as a trained one's does at a neighbour.
    """
    middles = (np.arange(size, dtype=np.float32) + 0.5)[None]  # (1, S)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["raw", "one", "two", "three"], ["green_last"]),
        helper.make_node("Squeeze", ["green_last", "three"], ["green"]),  # (N, S, S)
        helper.make_node("Split", ["boxes"], ["x0", "y0", "x1", "y1"], axis=1, num_outputs=4),
    ]
    for axis, low, high, spread in (("x", "x0", "x1", "one"), ("y", "y0", "y1", "two")):
        nodes += [
            helper.make_node("Add", [low, high], [f"{axis}_sum"]),
            helper.make_node("Sub", [high, low], [f"{axis}_side"]),
            helper.make_node("Mul", [f"{axis}_sum", "half"], [f"{axis}_mid"]),
            helper.make_node("Sub", ["middles", f"{axis}_mid"], [f"{axis}_off"]),  # (N, S)
            helper.make_node("Div", [f"{axis}_off", f"{axis}_side"], [f"{axis}_share"]),
            helper.make_node("Mul", [f"{axis}_share", f"{axis}_share"], [f"{axis}_square"]),
            helper.make_node("Unsqueeze", [f"{axis}_square", spread], [f"{axis}_map"]),
        ]
    nodes += [
        helper.make_node("Add", ["x_map", "y_map"], ["away"]),  # (N, S, S), 0.25 where the box's inscribed disc ends
        helper.make_node("Sub", ["reach", "away"], ["room"]),
        helper.make_node("Mul", ["room", "steep"], ["claim"]),
        helper.make_node("Clip", ["claim", "low", "high"], ["mine"]),
    ]
    for name, level in (("cell_dark", "level_cell"), ("nucleus_dark", "level_nucleus")):
        nodes += [
            helper.make_node("Sub", [level, "green"], [f"{name}_by"]),
            helper.make_node("Mul", [f"{name}_by", "slope"], [f"{name}_raw"]),
            helper.make_node("Clip", [f"{name}_raw", "low", "high"], [name]),
        ]
    nodes += [
        helper.make_node("Mul", ["cell_dark", "mine"], ["cell"]),
        helper.make_node("Mul", ["nucleus_dark", "cell"], ["nucleus"]),
        helper.make_node("Sub", ["cell", "nucleus"], ["cytoplasm"]),
        helper.make_node("Sub", ["high", "cell"], ["background"]),
    ]
    for name in ("background", "cytoplasm", "nucleus"):
        nodes.append(helper.make_node("Unsqueeze", [name, "one"], [f"{name}_plane"]))
    planes = ["background_plane", "cytoplasm_plane", "nucleus_plane"]
    nodes.append(helper.make_node("Concat", planes, ["probs"], axis=1))
    constants = {
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "three": np.array([3], np.int64),
        "half": np.float32(0.5),
        "middles": middles,
        "reach": np.float32(0.4),
        "steep": np.float32(7.0),
        "low": np.float32(0),
        "high": np.float32(1),
        "slope": np.float32(1 / 40),
        "level_cell": np.float32(215),
        "level_nucleus": np.float32(115),
    }
    inputs = [
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ("n", size, size, 3)),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ("n", 4)),
    ]
    outputs = [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ("n", 3, size, size))]
    write_model(folder, nodes, constants, inputs, outputs, opset=18)
    write_bundle_card(
        folder,
        name="dark-outliner",
        task="outline",
        input_size=(size, size),
        crop=CropRule(size=size, pad_fraction=0.25),
        thresholds={"cell": 0.5, "nucleus": 0.5},
        white_balance=white_balance,
    )
    return folder


def write_model(
    folder: Path, nodes: list, constants: dict[str, np.ndarray], inputs: list, outputs: list, *, opset: int = 17
) -> None:
    """`model.onnx` in `folder`, checked."""
    folder.mkdir(parents=True, exist_ok=True)
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def write_bundle_card(folder: Path, **values: object) -> Card:
    """`card.json` beside the folder's `model.onnx`; keys that are not given are empty."""
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    defaults = {
        "white_balance": False, "taxonomy": None, "crop": None, "temperature": None, "thresholds": {}, "training": {},
        "results": (), "confusion": None, "limits": ("made for tests",), "licence": "Apache-2.0",
        "description": "A tiny model for tests; it knows nothing about blood.",
    }  # fmt: skip
    card = Card(onnx_sha256=digest, **(defaults | values))
    write_card(card, folder / "card.json")
    return card


def draw_field(
    height: int,
    width: int,
    cells: list[tuple[float, float, str]],
    *,
    radius: float = 18,
    background: tuple[int, int, int] = (240, 240, 240),
) -> np.ndarray:
    """(H, W, 3) uint8: a disc in its class's colour at each (x, y, class)."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = background
    y, x = np.mgrid[:height, :width] + 0.5
    for cell_x, cell_y, class_name in cells:
        pixels[(x - cell_x) ** 2 + (y - cell_y) ** 2 <= radius**2] = COLORS[class_name]
    return pixels


def scatter_cells(
    rng: np.random.Generator, height: int, width: int, n_cells: int, *, apart: float = 60
) -> list[tuple[float, float, str]]:
    """Places (x, y, class) at least `apart` px from each other and half of that from the edge; fewer when full."""
    names, cells = list(COLORS), []
    for _ in range(50 * n_cells):
        x, y = rng.uniform(apart / 2, (width - apart / 2, height - apart / 2))
        if len(cells) < n_cells and all((x - a) ** 2 + (y - b) ** 2 >= apart**2 for a, b, _ in cells):
            cells.append((float(x), float(y), names[rng.integers(len(names))]))
    return cells


def noisy_field(seed: int, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: two drawn cells and noise, another picture for each seed."""
    noise = np.random.default_rng(seed).integers(-4, 5, (height, width, 1))
    cells = scatter_cells(np.random.default_rng(seed), height, width, 2, apart=60)
    return np.clip(draw_field(height, width, cells).astype(int) + noise, 0, 255).astype(np.uint8)


def noisy_smears(folder: Path, patients: dict[str, int], *, height: int = 128, width: int = 160) -> Path:
    """Patients' folders below `folder`, each with so many noisy fields 0.png, 1.png … counted over all patients."""
    number = 0
    for patient, n_fields in patients.items():
        (folder / patient).mkdir(parents=True)
        for _ in range(n_fields):
            Image.fromarray(noisy_field(number, height, width)).save(folder / patient / f"{number}.png")
            number += 1
    return folder

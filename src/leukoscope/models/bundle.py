"""Model bundles: a folder with `card.json` and the ONNX file it describes.

The card says everything that the pixels need to become calls (input, crop rule, temperature, thresholds,
taxonomy) and everything that a reader needs to trust them (training data with digests and licences, measured
results, confusion matrix, limits). A bundle that does not fit its card is refused; none is ever substituted.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukoscope.errors import UNREADABLE, ModelError, in_short
from leukoscope.files import file_digest, write_json
from leukoscope.models.words import WordRule
from leukoscope.taxonomy import Taxonomy

CARD_VERSION = 1
TASKS = ("locate", "classify", "detect", "outline")
# What the values of a card's keys may be; null where nothing is known.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "task", "onnx_sha256", "licence", "description"), (str,)),
    **dict.fromkeys(("confusion", "confusion_by_patient", "clinical", "taxonomy", "crop", "attributes"), (dict,)),
    **dict.fromkeys(("results", "limits", "input_size"), (list,)),
    **dict.fromkeys(("training", "thresholds"), (dict,)),
    "white_balance": (bool,),
    "temperature": (float, int),
}
_MOST_SIDE = 8192  # px that a network takes at once
_MAY_BE_NULL = ("confusion", "confusion_by_patient", "clinical", "taxonomy", "crop", "attributes", "temperature")
LATER_KEYS = ("attributes", "confusion_by_patient", "clinical")  # cards without them are read for ever
BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, slots=True)
class CropRule:
    """How a cell's box becomes the classifier's picture (the crop is square, centred on the box).

    pad_um        context on every side in micrometres, used when the field's um_per_px is known
    pad_fraction  context on every side as a share of the box's longer side, used when it is not known
    The paper pads by 50 px (PCM, section 2.3.2); a rule says what those pixels were on its own training images.
    pad_px        context in pixels; if given, the other two must be None
    size          pixels a side after resizing
    center        "box", or "contour": centred on the cell's contour, `um_per_px` micrometres a crop pixel where the
                  field's scale is known (padding then means nothing); a cell without a contour is taken by its box
    background    around a contour: "keep", "blur" or "mask" (`crop_contour.crop_contours`)
    nucleus_density  optical density (R, G, B) that the nucleus of every crop is brought to before the classifier
                  sees it (`crop.match_nuclei`); None: crops stay as they are
    """

    size: int
    pad_px: float | None = None
    pad_um: float | None = None
    pad_fraction: float | None = None
    nucleus_density: tuple[float, float, float] | None = None
    center: str = "box"
    um_per_px: float | None = None
    background: str = "keep"

    def __post_init__(self) -> None:
        if self.center not in ("box", "contour") or self.background not in ("keep", "blur", "mask"):
            raise ModelError(f"a crop is centred on box or contour, its background keep, blur or mask; got {self}")
        if self.center == "box" and (self.um_per_px is not None or self.background != "keep"):
            raise ModelError("um_per_px and background of a crop rule are for crops centred on contours")
        if self.center == "contour" and self.pad_fraction is None:
            raise ModelError("a crop rule centred on contours needs pad_fraction, for fields of unknown scale")
        if self.nucleus_density is not None:
            object.__setattr__(self, "nucleus_density", tuple(self.nucleus_density))
            if len(self.nucleus_density) != 3 or not all(d > 0 for d in self.nucleus_density):
                raise ModelError(f"nucleus_density must be three positive densities, got {self.nucleus_density}")
        by_px, by_scale = self.pad_px is not None, self.pad_fraction is not None
        if by_px == by_scale or (by_px and self.pad_um is not None):
            raise ModelError(
                "a crop rule needs either pad_px, or pad_fraction with pad_um where the scale may be known; "
                f"got pad_px={self.pad_px}, pad_fraction={self.pad_fraction}, pad_um={self.pad_um}"
            )
        numbers = {k: getattr(self, k) for k in ("pad_px", "pad_um", "pad_fraction", "um_per_px")}
        if not all(v is None or 0 <= v < math.inf for v in numbers.values()) or self.um_per_px == 0:
            raise ModelError(f"a crop rule's padding and scale must be numbers of 0 or more, got {numbers}")
        if not 16 <= self.size <= 1024:
            raise ModelError(f"a crop's size must be 16 to 1024 px, got {self.size}")


@dataclass(frozen=True, slots=True)
class Card:
    """What `card.json` holds. `white_balance`: the field is divided by its own background colour first.

    attributes  what the model's output "attributes" says of a cell beside its class; None where it has no such output
    confusion_by_patient  the confusion matrix's cells by patient or laboratory (quantify/scatter.py); None: not known
    clinical    what the model can know, for flags (flags.Knowledge): apl, likeness, flag_rates; None: nothing is said
    """

    name: str
    task: str
    onnx_sha256: str
    input_size: tuple[int, int]
    white_balance: bool
    taxonomy: Taxonomy | None
    crop: CropRule | None
    temperature: float | None
    thresholds: dict[str, float]
    training: dict
    results: tuple[dict, ...]
    confusion: dict | None
    limits: tuple[str, ...]
    licence: str
    description: str
    attributes: WordRule | None = None
    confusion_by_patient: dict | None = None
    clinical: dict | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ModelError(f"card {self.name!r}: task must be one of {', '.join(TASKS)}, got {self.task!r}")
        boxes = ("score", "nms_iou")
        needed = {"locate": boxes, "classify": (), "detect": boxes, "outline": ("cell", "nucleus")}[self.task]
        missing = [t for t in needed if t not in self.thresholds]
        if missing:
            raise ModelError(
                f"card {self.name!r}: the thresholds of task {self.task!r} need {', '.join(needed)}; "
                f"missing: {', '.join(missing)}"
            )
        if self.task == "outline" and self.crop is None:
            raise ModelError(f"card {self.name!r}: an outliner needs a crop rule")
        if self.task == "detect" and (self.taxonomy is None or not (self.temperature or 0) > 0):
            raise ModelError(f"card {self.name!r}: a detector needs a taxonomy and a positive temperature")
        if self.task == "classify" and (self.taxonomy is None or self.crop is None or not (self.temperature or 0) > 0):
            raise ModelError(
                f"card {self.name!r}: a classifier needs a taxonomy, a crop rule and a positive temperature"
            )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle: its card and where its ONNX file is."""

    card: Card
    path: Path

    @property
    def onnx(self) -> Path:
        return self.path / "model.onnx"


def read_card(path: str | Path) -> Card:
    """Read one `card.json`; ModelError says which key is missing or unknown."""
    path = Path(path)
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values.pop("card_version")
    except (OSError, *UNREADABLE) as error:
        raise ModelError(f"{path} is not a model card: {in_short(error)}") from None
    if version != CARD_VERSION:
        raise ModelError(f"{path} has card_version {version}; this Leukoscope reads {CARD_VERSION}")
    expected = set(Card.__dataclass_fields__) | {"taxonomy_sha256"}
    unknown, missing = sorted(set(values) - expected), sorted(expected - set(values) - set(LATER_KEYS))
    if unknown or missing:
        raise ModelError(
            f"{path}: unknown keys: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )
    taxonomy_sha256 = values.pop("taxonomy_sha256")
    try:
        odd = [key for key, value in values.items() if not _is_of_kind(key, value)]
        if odd:
            raise TypeError(f"{', '.join(odd)}: expected {_KINDS[odd[0]][0].__name__}, got {values[odd[0]]!r}")
        taxonomy = Taxonomy.from_dict(values["taxonomy"]) if values["taxonomy"] else None
        values |= {
            "taxonomy": taxonomy,
            "crop": CropRule(**values["crop"]) if values["crop"] else None,
            "input_size": tuple(int(side) for side in values["input_size"]),
            "thresholds": {name: float(value) for name, value in values["thresholds"].items()},
            "results": tuple(values["results"]),
            "limits": tuple(values["limits"]),
            "attributes": WordRule.from_dict(values["attributes"]) if values.get("attributes") else None,
        }
        if not all(map(math.isfinite, (values["temperature"] or 0, *values["thresholds"].values()))):
            raise ValueError(f"temperature and thresholds must be finite, got {values['thresholds']}")
        if len(values["input_size"]) != 2 or not all(16 <= side <= _MOST_SIDE for side in values["input_size"]):
            raise ValueError(f"input_size must be two sides of 16 to {_MOST_SIDE} px, got {values['input_size']}")
    except UNREADABLE as error:
        raise ModelError(f"{path} holds a value of the wrong kind: {in_short(error)}") from None
    if taxonomy is not None and taxonomy.sha256() != taxonomy_sha256:
        raise ModelError(
            f"{path}: taxonomy {taxonomy.name!r} does not fit its digest: the card was edited; "
            f"take it from its source again"
        )
    return Card(**values)


def _is_of_kind(key: str, value: object) -> bool:
    """Whether a card may have this value; true is no number."""
    if value is None:
        return key in _MAY_BE_NULL
    return isinstance(value, _KINDS[key]) and (key == "white_balance" or not isinstance(value, bool))


def write_card(card: Card, path: str | Path) -> None:
    """Write `card.json`; `read_card` gives the same card back."""
    values: dict[str, Any] = {"card_version": CARD_VERSION}
    for key in Card.__dataclass_fields__:
        values[key] = getattr(card, key)
    values["taxonomy"] = card.taxonomy.to_dict() if card.taxonomy else None
    values["taxonomy_sha256"] = card.taxonomy.sha256() if card.taxonomy else None
    values["crop"] = {k: getattr(card.crop, k) for k in CropRule.__dataclass_fields__} if card.crop else None
    values["attributes"] = card.attributes.to_dict() if card.attributes else None
    for key in LATER_KEYS:  # as cards were before there were these keys
        if values[key] is None:
            del values[key]
    write_json(path, values)


def read_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder and check that its ONNX file is the one the card describes (SHA-256)."""
    path = Path(path)
    card = read_card(path / "card.json")
    onnx = path / "model.onnx"
    if not onnx.is_file():
        raise ModelError(f"bundle {path} has a card but no model.onnx: copy the whole folder again")
    digest = file_digest(onnx)
    if digest != card.onnx_sha256:
        raise ModelError(
            f"{onnx} does not fit its card: expected SHA-256 {card.onnx_sha256[:12]}…, got {digest[:12]}…; "
            f"copy the whole bundle again"
        )
    return Bundle(card, path)


def find_model(name_or_dir: str | Path) -> dict[str, Bundle]:
    """The bundles of a model, by task.

    A model is one bundle folder, or a folder whose sub-folders `locator/` and `classifier/` (and perhaps `outliner/`)
    are bundles; the name of a bundled model is that model, and a run folder of `train` is its bundle.
    ModelError when there is none: no model is ever substituted.
    """
    # A bundled name means the bundled model even where a folder happens to have that name: ./name is the folder.
    name = str(name_or_dir)
    bundled = isinstance(name_or_dir, str) and name in bundled_names()
    path = BUNDLED / name if bundled else Path(name_or_dir)
    if not path.is_dir() or not name.strip():
        names = ", ".join(bundled_names()) or "none"
        raise ModelError(f"no model {name!r}: expected a bundle folder or one of the bundled models ({names})")
    if (path / "bundle" / "card.json").is_file():
        path = path / "bundle"
    if (path / "card.json").is_file():
        bundle = read_bundle(path)
        return {bundle.card.task: bundle}
    parts = [path / part for part in ("locator", "classifier", "outliner") if (path / part / "card.json").is_file()]
    if not parts:
        raise ModelError(
            f"{path} is not a model: expected card.json, or locator/card.json and classifier/card.json, in it"
        )
    bundles = [read_bundle(p) for p in parts]
    return {b.card.task: b for b in bundles}


def part_of_model(models: dict[str, Bundle], task: str) -> Bundle:
    """The bundle of one task ("locate", "classify"); ModelError when the model has none."""
    if task not in models:
        have = ", ".join(f"{b.card.name!r} ({t})" for t, b in models.items()) or "nothing"
        raise ModelError(f"the model has no part to {task}: it has {have}; name a model folder that has one")
    return models[task]


def bundled_names() -> list[str]:
    """Names of the models that come with Leukoscope."""
    if not BUNDLED.is_dir():
        return []
    return sorted(p.name for p in BUNDLED.iterdir() if p.is_dir() and not p.name.startswith("_"))

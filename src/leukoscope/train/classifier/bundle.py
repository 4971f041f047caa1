"""Make a classifier bundle out of a training run: the ONNX graph, the temperature, the card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from leukoscope.classify import diameters_um
from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.attributes import choose_word_rule
from leukoscope.evaluate.calibration import fit_temperature
from leukoscope.files import file_digest
from leukoscope.models.bundle import Bundle, Card, CropRule, write_card
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import POOLED, TEXTURE, CellClassifier, export_classifier
from leukoscope.models.torch_nearness import NearnessScale, nearness_scale
from leukoscope.models.words import WordRule
from leukoscope.quantify.patient import confusion_for_card
from leukoscope.scale import with_scale
from leukoscope.taxonomy import AttributeSet, Taxonomy, read_attribute_set, read_taxonomy
from leukoscope.train.adapt.profile import REFERENCE, Reference, measure_reference, write_reference
from leukoscope.train.adapt.site_head import sharpness
from leukoscope.train.augment import jitter_colour
from leukoscope.train.checkpoint import read_average, read_checkpoint
from leukoscope.train.classifier.data import read_balanced, stated_values
from leukoscope.train.run_folder import CARD, LITE0, ONNX, CardWords, begin_card, entries_of, read_run
from leukoscope.types import Cells, Field

ATTRIBUTE_LAYER = "attributes.pt"  # in a run folder: the layer fitted anew when training had ended
LEAST_DESCRIBED = 20  # validation cells with attributes that a class needs before its cells get words


def read_classifier(run: str | Path) -> tuple[CellClassifier, dict]:
    """The averaged network of a run folder in evaluation mode, its attributes' layer as fitted last; its `run.json`.

    ConfigError where the folder holds no run.
    """
    record = read_run(run, "classify")
    config = record["config"]
    described = read_attribute_set(config["attributes"]) if config.get("attributes") else None
    n_values = described.n_values if described else 0
    model = CellClassifier(
        len(read_taxonomy(config["taxonomy"]).names),
        n_values=n_values,
        pretrained=False,
        grey=config.get("grey", False),
        joined="joined" in record,
    )
    model.load_state_dict(read_average(run))
    if described and (Path(run) / ATTRIBUTE_LAYER).is_file():
        model.attributes.load_state_dict(read_checkpoint(Path(run) / ATTRIBUTE_LAYER, "weight", torch.Tensor))
    return model.eval(), record


def export_run(run: str | Path, out: str | Path, *, validation: Sequence[Dataset], **words: Unpack[CardWords]) -> Path:
    """Write `card.json` and `model.onnx` of a run into folder `out`; returns `out`.

    validation  data sets cut down to fields that the run did not train on: they set the temperature (half as they
                are, half restained, so that a new laboratory's calls aren't overconfident), fill the card's
                confusion matrix and choose from which probability on words are shown
    words       for the card
    """
    model, record = read_classifier(run)
    config = record["config"]
    taxonomy = read_taxonomy(config["taxonomy"])
    add_prior(model, taxonomy, config.get("prior") or {})
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    export_classifier(model, out / ONNX, size=config["size"])
    training = {"temperature_chosen_on": entries_of(validation)}
    rule = CropRule(size=config["size"], pad_fraction=config["pad_fraction"], nucleus_density=config["nucleus_density"])
    card = begin_card(
        record,
        out,
        task="classify",
        size=config["size"],
        words=words,
        training=training | {"pretrained": LITE0},
        white_balance=True,
        taxonomy=taxonomy,
        crop=rule,
        temperature=1.0,
        thresholds=dict(config.get("thresholds") or {}),
    )
    card = replace(card, limits=(*card.limits, *_source_limits(record.get("one_source") or {})))
    crops, diameters, truth = typed_crops(validation, card)
    session = Session(Bundle(card, out))
    density = card.crop.nucleus_density
    outputs = run_named(session, match_nuclei(crops, density), diameters)
    features, labels = _coarse_cells(session, validation, card, config.get("class_sets") or {})
    features, labels = np.concatenate([outputs["features"], features]), np.concatenate([truth, labels])
    reference = measure_reference(features, labels, len(taxonomy.names))
    write_reference(reference, out)
    card = replace(card, training=card.training | {"reference_sha256": file_digest(out / REFERENCE)})
    if config.get("nearness"):
        set_nearness(model, reference, config["nearness"])
        export_classifier(model, out / ONNX, size=config["size"])
        card = replace(card, onnx_sha256=file_digest(out / ONNX))
        session = Session(Bundle(card, out))
        outputs["logits"] = outputs["logits"] * sharpness(model, outputs["features"])
    temperature = config.get("temperature")
    if temperature is None:
        restained = run_named(session, match_nuclei(restain(crops, seed=config["seed"]), density), diameters)
        both = np.concatenate([outputs["logits"], restained["logits"]])
        temperature = fit_temperature(both, np.concatenate([truth, truth]))
    spoken = None
    if config.get("attributes"):
        spoken = word_rule(session, validation, card, config)
    card = replace(card, temperature=round(temperature, 4), attributes=spoken)
    laboratories = [d.name for d in validation for f in d.fields for c in f.cells if c.class_name in taxonomy.names]
    probs = softmax(outputs["logits"] / card.temperature)
    least_prob = card.thresholds.get("unidentified", 0.0)
    settings = {"patients": laboratories, "unit": "laboratory", "least_prob": least_prob}
    card = replace(card, **confusion_for_card(truth, probs, taxonomy, **settings))
    write_card(card, out / CARD)
    return out


def set_nearness(model: CellClassifier, reference: Reference, settings: dict[str, float]) -> None:
    """Make calls surer near the training cells' class means, in place; settings: `nearness_scale`'s."""
    model.nearness = scale_of(reference, settings)


def scale_of(reference: Reference, settings: dict[str, float]) -> NearnessScale:
    """The scale of a reference's classes, of what one trunk hears or two."""
    trunks = reference.means.shape[1] // POOLED
    columns = np.concatenate([np.arange(POOLED)[TEXTURE] + POOLED * trunk for trunk in range(trunks)])
    of_texture = reference.of_features(columns)
    return nearness_scale(of_texture.means[of_texture.n > 0], of_texture.units(), **settings)


def _source_limits(one_source: dict[str, str]) -> list[str]:
    """What a card says of classes that one laboratory alone taught."""
    if not one_source:
        return []
    sources = ", ".join(f"{kind} ({name})" for kind, name in one_source.items())
    return [f"One data set alone taught these classes, so that what tells them may be its laboratory: {sources}."]


def _coarse_cells(
    session: Session, validation: Sequence[Dataset], card: Card, class_sets: dict[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """What the last layer hears (N, F) of validation cells whose class is coarser than the model's, and of the classes
    that each may be the one that the model says."""
    taxonomy = card.taxonomy
    features, labels = [np.zeros((0, _width(session)), np.float32)], [np.zeros(0, np.int64)]
    for name, allowed in class_sets.items():
        if name in taxonomy.names or not allowed:
            continue
        cells = [_renamed(d, name, allowed[0]) for d in validation]
        if any(f.cells for d in cells for f in d.fields):
            crops, diameters, _ = typed_crops(cells, card)
            outputs = run_named(session, match_nuclei(crops, card.crop.nucleus_density), diameters)
            columns = np.array(taxonomy.columns(allowed))
            features.append(outputs["features"])
            labels.append(columns[outputs["logits"][:, columns].argmax(1)])
    return np.concatenate(features), np.concatenate(labels)


def _renamed(dataset: Dataset, name: str, new: str) -> Dataset:
    """The cells of class `name` alone, called `new`."""
    fields = [
        replace(f, cells=tuple(replace(c, class_name=new) for c in f.cells if c.class_name == name))
        for f in dataset.fields
    ]
    return replace(dataset, fields=tuple(fields))


def _width(session: Session) -> int:
    crop = np.zeros((1, *session.card.input_size, 3), np.uint8)
    return session.run_named(pixels=crop, diameter_um=np.zeros(1, np.float32))["features"].shape[1]


@torch.no_grad()
def add_prior(model: CellClassifier, taxonomy: Taxonomy, prior: dict[str, float]) -> None:
    """Add to the logits of some classes, in place: how much rarer they are in use than in training."""
    for name, shift in prior.items():
        model.fc.bias[taxonomy.index(name)] += shift


def described_cells(
    datasets: Sequence[Dataset], config: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray, AttributeSet]:
    """Crops (N, S, S, 3) by the run's rule, diameters (N,), stated values (N, A) of the cells that state attributes and
    whose class the taxonomy has, and the set. DataError where none does."""
    attributes, taxonomy = read_attribute_set(config["attributes"]), read_taxonomy(config["taxonomy"])
    described = [_described_only(d, taxonomy) for d in datasets]
    rule = CropRule(size=config["size"], pad_fraction=config["pad_fraction"])
    crops, diameters, _ = crops_by_rule(described, taxonomy, rule)
    cells = [c for d in described for f in d.fields for c in f.cells]
    return crops, diameters, np.stack([stated_values(c.attributes, attributes) for c in cells]), attributes


def word_rule(session: Session, validation: Sequence[Dataset], card: Card, config: dict) -> WordRule:
    """Thresholds from the validation cells that state attributes, as they are and restained."""
    crops, diameters, stated, attributes = described_cells(validation, config)
    of_classes = [c.class_name for d in validation for f in d.fields for c in f.cells if c.attributes]
    truth = [card.taxonomy.index(name) for name in of_classes if name in card.taxonomy.names]
    density, seed = card.crop.nucleus_density, config["seed"]
    shown = (match_nuclei(crops, density), match_nuclei(restain(crops, seed=seed), density))
    values = np.concatenate([run_named(session, pictures, diameters)["attributes"] for pictures in shown])
    numbers = np.bincount(truth, minlength=len(card.taxonomy.names))
    classes = [name for name, n in zip(card.taxonomy.names, numbers, strict=True) if n >= LEAST_DESCRIBED]
    return choose_word_rule(values, np.concatenate([stated, stated]), attributes, classes=classes)


def _described_only(dataset: Dataset, taxonomy: Taxonomy) -> Dataset:
    """The cells that state attributes and whose class the taxonomy has, each field with at least one."""
    fields = []
    for field in dataset.fields:
        cells = tuple(c for c in field.cells if c.attributes and c.class_name in taxonomy.names)
        if cells:
            fields.append(replace(field, cells=cells))
    return replace(dataset, fields=tuple(fields))


def typed_crops(datasets: Sequence[Dataset], card: Card) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every cell whose class the taxonomy has: crops (N, S, S, 3) by the card's rule, diameters (N,) in µm as in
    analysis (0 where unknown), and columns (N,)."""
    return crops_by_rule(datasets, card.taxonomy, card.crop)


def crops_by_rule(
    datasets: Sequence[Dataset], taxonomy: Taxonomy, rule: CropRule
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `typed_crops`, for a taxonomy and a rule without a card."""
    crops, diameters, truth = [], [], []
    for dataset in datasets:
        for field in dataset.fields:
            cells = [c for c in field.cells if c.class_name in taxonomy.names]
            if cells:
                pixels, masked = read_balanced(dataset.path(field))
                boxes = np.array([c.box for c in cells])
                crops.append(crop_cells(pixels, boxes, rule, background=0 if masked else 240))
                view = with_scale(
                    Field(field.key, pixels, field.um_per_px), Cells(field.key, boxes, np.ones(len(cells)))
                )
                diameters.append(diameters_um(view, boxes))
                truth += [taxonomy.index(c.class_name) for c in cells]
    if not crops:
        raise DataError("no validation cell has a class of the taxonomy: nothing can be chosen on them")
    return np.concatenate(crops), np.concatenate(diameters), np.array(truth)


def restain(crops: np.ndarray, *, seed: int) -> np.ndarray:
    """Crops (N, S, S, 3) uint8 as another laboratory's stain and camera might show them, by seed."""
    rng = torch.Generator().manual_seed(seed)
    out = [
        jitter_colour(torch.from_numpy(crops[i : i + 64]).permute(0, 3, 1, 2).float() / 255, rng)
        for i in range(0, len(crops), 64)
    ]
    return (torch.cat(out).permute(0, 2, 3, 1) * 255).round().byte().numpy()


def run_named(session: Session, crops: np.ndarray, diameters: np.ndarray) -> dict[str, np.ndarray]:
    """Every output (N, …) for crops (N, S, S, 3) of cells with diameters (N,) in µm, 0 where unknown."""
    parts = [
        session.run_named(pixels=crops[i : i + 64], diameter_um=diameters[i : i + 64]) for i in range(0, len(crops), 64)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

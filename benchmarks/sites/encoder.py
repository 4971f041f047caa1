"""A cell encoder of our own: supervised contrast across laboratories, continued from ImageNet's Lite0 or Lite2.

    python -m benchmarks.sites.encoder WORK [--data FOLDER] [--arch efficientnet-lite0] [--weight 1.0] [--epochs 20]
                                 [--fields N] [--without raabin] [--quick] [--dry-run]

Made for minutes of a GPU; --quick tries it on a processor (few cells, one epoch of three steps). Cells of pbc, raabin,
lmu and cnmc learn their classes and, beside that, to lie nearer to their class at other laboratories than to others at
their own (`train.classifier.loss`). Then the encoder is frozen and set beside ImageNet's features and the bundled
classifier's on what it has not seen: a linear head of the training cells, read as five types (restricted), and how many
of a cell's five nearest in its own set are of its type. It is worth keeping where it beats both on the development sets
and on the laboratory left out (--without). Writes benchmarks/results/encoder.csv; WORK/encoder holds the weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import DATA, QUICK, Args, Rows, benchmark, option
from benchmarks.sites.laboratories import build
from leukoscope.evaluate.coarse import type_of
from leukoscope.models.torch_backbones import build_network
from leukoscope.taxonomy import BLOOD_14
from leukoscope.train.adapt.locator_site import thinned
from leukoscope.train.classifier.loss import contrast_loss
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet, join_crop_sets, read_crop_set, with_class_sets
from leukoscope.train.crops.finetune import finetune, load_finetuned, predict_features

TRAIN = ("pbc", "raabin", "lmu", "cnmc")
DEVELOPMENT = ("bccd", "jtsc", "cellavision")
CLASS_SETS = {
    "neutrophil": ("band_neutrophil", "segmented_neutrophil"),
    "immature_granulocyte": ("promyelocyte", "myelocyte", "metamyelocyte"),
    "lymphoid_precursor": ("lymphocyte",),
}
NEAREST = 5


def main(args: Args) -> Rows:
    config = settings(args)
    most = 40 if args.quick else args.fields
    read = {n: cells_of(n, number, args, config, most) for number, n in enumerate((*TRAIN, *DEVELOPMENT))}
    train = join_crop_sets([read[n] for n in TRAIN if n not in args.without])
    run = args.work / "encoder"
    shutil.rmtree(run, ignore_errors=True)
    finetune(
        config, train, None, run, extra_losses=[contrast_of(args.weight)], sampler_weights=balanced(train),
        progress=lambda done, total: print(f"step {done} of {total}", flush=True) if done % 50 == 0 else None,
    )  # fmt: skip
    encoders = {
        "ImageNet": build_network(args.arch, 2, weights="imagenet", size=config.size).eval(),
        "the bundled classifier's": build_network("efficientnet-lite0", 2, weights="blood", size=config.size).eval(),
        "this encoder": load_finetuned(run, "last")[0],
    }
    rows = []
    for name, network in encoders.items():
        rows += frozen_rows(name, network, train, [read[n] for n in (*args.without, *DEVELOPMENT)])
    context = {"arch": args.arch, "weight": args.weight, "epochs": config.epochs, "without": " ".join(args.without)}
    context |= {"n_trained": len(train), "device": "cuda" if torch.cuda.is_available() else "cpu", "quick": args.quick}
    yield from rows
    return context


def settings(args: Args) -> FinetuneConfig:
    """Trained norms and strong colours in the long run; three steps in a try."""
    return FinetuneConfig(
        name="encoder", arch=args.arch, taxonomy="blood-14", weights="imagenet",
        epochs=1 if args.quick else args.epochs, max_steps=3 if args.quick else None,
        batch_size=16 if args.quick else 256, size=64 if args.quick else 160, workers=0 if args.quick else 8,
        pad_px=None, pad_fraction=0.25, white_balance=True, norms="trained", augment="stain", learning_rate=5e-4,
        head_rate=2e-3, weight_decay=0.05, label_smoothing=0.05, dropout=0.2, ema=0.99,
    )  # fmt: skip


def cells_of(name: str, number: int, args: Args, config: FinetuneConfig, most: int | None) -> CropSet:
    """A set's typed cells, its number beside each: what the contrast tells laboratories by."""
    dataset = build(name, args.data, args.work / "data")
    if most is not None:
        dataset = thinned(dataset, most, 0)
    crops = read_crop_set(dataset, taxonomy=BLOOD_14, rule=config.crop_rule(), white_balance=True)
    crops = with_class_sets(crops, CLASS_SETS)
    crops = crops.subset(crops.extras["allowed"].any(1))
    numbered = {"set": np.full(len(crops), number)}
    return CropSet(**{k: getattr(crops, k) for k in CropSet.__dataclass_fields__ if k not in ("extras", "unit")},
                   unit="photograph", extras=crops.extras | numbered)  # fmt: skip


def contrast_of(weight: float):
    """The extra loss: contrast on the pooled map, between cells of one class in different sets."""

    def loss(network, batch: dict, feature_map: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        features = feature_map.mean((2, 3)).float()
        return weight * contrast_loss(features, batch["extras"]["allowed"].bool(), batch["extras"]["set"])

    return loss


def balanced(crops: CropSet) -> np.ndarray:
    """(N,) a class of a set is drawn by the root of its size."""
    kinds = np.char.add(crops.extras["set"].astype(str), crops.class_names.astype(str))
    _, place, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return 1 / np.sqrt(counts[place])


def frozen_rows(name: str, network, train: CropSet, others: list[CropSet]) -> list[dict]:
    """A linear head of the training cells, and the nearest cells within each other set."""
    types = five_types(train)
    rows = np.flatnonzero(types >= 0)
    features = predict_features(network, train.crops[rows])
    scaler = StandardScaler().fit(features)
    head = LogisticRegression(C=0.1, max_iter=400, class_weight="balanced").fit(scaler.transform(features), types[rows])
    found = []
    for other in others:
        truth = five_types(other)
        kept = np.flatnonzero(truth >= 0)
        told = scaler.transform(predict_features(network, other.crops[kept]))
        right = float((head.predict(told) == truth[kept]).mean())
        line = {"set": other.sources[0]["name"], "n": len(kept), "features": name}
        found.append(line | {"measure": "five types, linear head of the training cells", "value": round(right, 4)})
        share = nearest_share(told, truth[kept])
        found.append(line | {"measure": f"of {NEAREST} nearest cells, same type", "value": round(share, 4)})
        print(found[-2], found[-1]["value"], flush=True)
    return found


def five_types(crops: CropSet) -> np.ndarray:
    """(N,) column in the five types, -1 for others."""
    found = [type_of(n) for n in crops.class_names.tolist()]
    return np.array([-1 if t is None else t for t in found], np.int64)


def nearest_share(features: np.ndarray, types: np.ndarray) -> float:
    """Mean over types of the share of a cell's nearest that are of its type (cosine, itself left out)."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1)[:, :NEAREST]
    same = (types[nearest] == types[:, None]).mean(1)
    return float(np.mean([same[types == t].mean() for t in np.unique(types)]))


if __name__ == "__main__":
    benchmark(
        main, option("work", type=Path), DATA,
        option("--arch", default="efficientnet-lite0", choices=("efficientnet-lite0", "efficientnet-lite2")),
        option("--weight", type=float, default=1.0, help="of the contrast beside the class loss; 0: none"),
        option("--epochs", type=int, default=20),
        option("--fields", type=int, help="of each set, at random; all unless given"),
        option("--without", nargs="*", default=[], choices=TRAIN, help="laboratories left out, and looked at"),
        QUICK,
    )  # fmt: skip

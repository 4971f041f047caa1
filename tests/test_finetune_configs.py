"""The studies' classifier configurations: all can be read, and every kind runs from manifest to scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from data.make_pictures import draw_field

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.taxonomy import read_taxonomy
from leukoscope.types import FieldKey

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("efficientnet_lite_pytorch", reason="training needs the extra: pip install '.[train]'")

from leukoscope.errors import ConfigError, ModelError  # noqa: E402
from leukoscope.evaluate import evaluate_model  # noqa: E402
from leukoscope.models.bundle import find_model  # noqa: E402
from leukoscope.models.torch_backbones import ARCHS  # noqa: E402
from leukoscope.train.config import build_config, read_toml  # noqa: E402
from leukoscope.train.crops import bundle as finetune_export  # noqa: E402
from leukoscope.train.crops.config import FinetuneConfig  # noqa: E402
from leukoscope.train.crops.job import finetune_datasets, training_crops  # noqa: E402
from leukoscope.train.crops.predict import load_finetuned  # noqa: E402
from leukoscope.train.run import train  # noqa: E402

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FILES = [f for f in sorted(CONFIGS.glob("pcm*/*.toml")) if 'task = "finetune"' in f.read_text("utf-8")]
IDS = [f"{f.parent.name}/{f.stem}" for f in FILES]


pytestmark = pytest.mark.usefixtures("one_thread")


def read(file: Path) -> FinetuneConfig:
    values = read_toml(file)
    assert values.pop("task") == "finetune"
    return build_config(FinetuneConfig, values, file)


def paint(folder: Path, *, split: bool = True, n: int = 12) -> Path:
    """A set of `n` fields with a cell each, of four classes by turns; every fourth field of split "val"."""
    classes = ("segmented_neutrophil", "lymphocyte", "monocyte", "eosinophil")
    fields = []
    for i in range(n):
        draw_field(folder / "pictures" / f"{i}.png", (64, 48), [(32, 24, 12)], seed=i)
        cell = TruthCell((20.0, 12.0, 44.0, 36.0), classes[(i // 2) % 4], "x")
        where = ("val" if i % 4 == 1 else "train") if split else None
        key = FieldKey(f"{i}", "", f"p{i}", "c", "blood")
        fields.append(TruthField(key, f"{i}.png", f"{i}".rjust(64, "0"), 64, 48, (cell,), split=where))
    made = Dataset("painted", folder / "pictures", tuple(fields), "CC0", "here", "folders")
    write_dataset(made, folder / "set")
    return folder / "set"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_every_configuration_can_be_read(file):
    config = read(file)
    assert config.arch in ARCHS and set(config.exclude) <= set(read_taxonomy(config.taxonomy).names)
    header = file.read_text("utf-8").split("task =")[0]
    assert all(f"# {word}:" in header for word in ("Command", "Time", "Score"))
    assert f"configs/{file.parent.name}" in header
    if "lpft" in file.stem:
        assert config.head_epochs and config.reduced_rate < config.head_rate
    if "direct" in file.stem:
        assert not config.head_epochs


def test_the_papers_settings_stand():
    assert len(FILES) >= 23
    for size in "sblg":
        config = read(CONFIGS / "pcm" / f"dinobloom-{size}-lpft.toml")
        assert (config.head_epochs, config.epochs, config.size, config.pad_px) == (10, 50, 224, 50)
        assert config.arch == f"dinobloom-{size}" and config.exclude == ("other",) and config.augment == "paper"
        assert config.val_share == 0.2


ROWS = (
    "resnet50", "efficientnet-b0", "efficientnet-lite0", "dinobloom-s-direct", "dinobloom-b-lpft", "dinobloom-g-lpft",
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_every_kind_of_row_runs_from_manifest_to_scores(row, tmp_path):
    few = {"head_epochs": min(1, read(CONFIGS / "pcm-small" / f"{row}.toml").head_epochs), "epochs": 1, "max_steps": 1}
    config = replace(read(CONFIGS / "pcm-small" / f"{row}.toml"), batch_size=3, **few)
    if config.size > 64:
        config = replace(config, size=64)
    dataset = read_dataset(paint(tmp_path))
    run = finetune_datasets(config, [dataset], tmp_path / "run", command="c", commit="d")
    result = evaluate_model(find_model(run / "bundle"), dataset, "val", tmp_path / "scores")
    assert result["classification"]["readings"]["five_types_strict"]["n_cells"] == 3


def test_train_takes_the_task_and_cards_say_what_was_done(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(
        'task = "finetune"\nname = "tiny"\narch = "tiny"\ntaxonomy = "pcm-9"\nexclude = ["other"]\nepochs = 1\n'
        'size = 32\npad_px = 6\nbatch_size = 4\nworkers = 2\nlimits = ["drawn"]\n'
    )
    run = train(config, [paint(tmp_path)], tmp_path / "run")
    card = find_model(run / "bundle")["classify"].card
    assert card.training["command"] == "leukoscope train tiny.toml --data set --out run"
    assert card.limits == ("drawn",) and card.crop.pad_px == 6 and "other" not in card.taxonomy.names
    assert card.training["data"]["sources"][0]["name"] == "painted"
    with pytest.raises(ConfigError, match="already holds a run"):
        train(config, [tmp_path / "set"], run)


def test_a_network_that_one_file_cannot_hold_is_trained_and_not_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_export, "MOST_PARAMETERS", 100)
    config = FinetuneConfig(name="x", arch="tiny", taxonomy="pcm-9", epochs=1, size=32, batch_size=4, pad_px=6.0)
    run = finetune_datasets(config, [read_dataset(paint(tmp_path))], tmp_path / "run")
    assert (run / "best.pt").is_file() and not (run / "bundle").exists()
    assert "no bundle" in (run / "not-exported.txt").read_text("utf-8")
    with pytest.raises(ModelError, match="more than one ONNX file holds"):
        finetune_export.write_onnx(load_finetuned(run)[0], tmp_path / "x.onnx")


def test_validation_is_held_out_by_group_where_none_is_stated(tmp_path):
    config = FinetuneConfig(name="x", arch="tiny", taxonomy="pcm-9", epochs=1, size=32, val_share=0.25)
    stated = read_dataset(paint(tmp_path / "a"))
    rest, held = training_crops(config, [stated])
    assert held.files.tolist() == ["1.png", "5.png", "9.png"] and len(rest) == 9
    rest, held = training_crops(config, [read_dataset(paint(tmp_path / "b", split=False))])
    assert len(held) and not set(rest.groups) & set(held.groups) and len(rest) + len(held) == 12
    copied = replace(
        stated, fields=tuple(replace(f, sha256="f" * 64) if f.file in ("0.png", "1.png") else f for f in stated.fields)
    )
    assert "0.png" not in training_crops(config, [copied])[0].files  # a copy of a validation picture
    with pytest.raises(ConfigError, match="splits has val"):
        training_crops(replace(config, splits=("train", "val")), [stated])

"""The marrow study's settings: the shipped folders are read, mistakes are said on one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")

from leukoscope.errors import ConfigError  # noqa: E402
from leukoscope.experiments.cblc.members import component_variants  # noqa: E402
from leukoscope.experiments.cblc.settings import StudyConfig, read_settings  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("folder", ["cblc", "cblc-small"])
def test_the_shipped_settings_are_read(folder):
    files = read_settings(CONFIGS / folder)
    assert files.study.read_taxonomy().composites["cblc"][:2] == ("myeloblast", "promyelocyte")
    assert files.classifier.taxonomy == files.study.taxonomy
    assert files.outliner.size % 32 == 0 and files.locator.side % 32 == 0  # what their networks can take
    assert set(component_variants(files.study)) == {
        "without imbalance correction",
        "without centre-border",
        "without morphology",
        "without stain normalisation",
    }
    assert (files.detector is not None) == (folder == "cblc-small")


def test_own_composites_stand_beside_the_papers():
    taxonomy = StudyConfig("x", composites={"red": ["erythroblast"]}).read_taxonomy()
    assert taxonomy.composites["red"] == ("erythroblast",)
    with pytest.raises(ConfigError, match="no composite 'blue'"):
        StudyConfig("x", composite="blue").read_taxonomy()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"imbalance": ("smote",)}, "imbalance"),
        ({"center_border": ("cutout",)}, "center_border"),
        ({"crop": "circle"}, "contour, box"),
        ({"segmenter": "sam"}, "outliner, yolo"),
        ({"folds": 1}, "at least 2"),
        ({"folds": 3, "ensemble_weights": (1.0, 2.0)}, "needs 3"),
    ],
)
def test_wrong_settings_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        StudyConfig("x", **wrong)


def test_a_missing_folder_or_unknown_key_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no configuration folder"):
        read_settings(tmp_path / "nowhere")
    (tmp_path / "study.toml").write_text('name = "x"\nfold = 3\n', "utf-8")
    with pytest.raises(ConfigError, match="unknown key fold"):
        read_settings(tmp_path)


def test_yolo_is_chosen_with_its_settings_and_an_old_study_is_told_as_before(tmp_path):
    """study.toml names the segmenter, segmenter.toml says how it is trained: one without the other is a mistake."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIGS / "cblc-small", folder)
    told = read_settings(folder).settings()
    assert "segmenter" not in told and "segmenter" not in told["study"]  # a study begun before can be resumed
    study = (folder / "study.toml").read_text("utf-8")
    (folder / "study.toml").write_text('segmenter = "yolo"\n' + study, "utf-8")
    with pytest.raises(ConfigError, match="go together"):
        read_settings(folder)
    shutil.copy(CONFIGS / "yolo11-seg.toml", folder / "segmenter.toml")
    files = read_settings(folder)
    assert files.segmenter.arch == "yolo11m-seg" and files.settings()["segmenter"]["side"] == 1024
    (folder / "study.toml").write_text(study, "utf-8")
    with pytest.raises(ConfigError, match="go together"):
        read_settings(folder)

"""Settings of the marrow study: a folder of TOML files, one for the study and one for each network it trains."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.taxonomy import Taxonomy, read_taxonomy
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.crops.center_border import METHODS as CENTER_BORDER
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.imbalance import METHODS as IMBALANCE
from leukoscope.train.detector.config import DetectorConfig
from leukoscope.train.locator.config import LocatorConfig
from leukoscope.train.outliner.config import OutlinerConfig
from leukoscope.train.outliner.yolo_seg import YoloSegConfig

CROPS = ("contour", "box")
SEGMENTERS = ("outliner", "yolo")
ARTEFACT = "artefact"


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """`study.toml`.

    taxonomy, composite  classes, and the composite whose ratio the study is about; a taxonomy without an artefact
                   class gets one, for what is found and matches no expert's cell
    composites     further composites of your own: name -> classes; each gets its ratio
    folds          members of the ensemble: each leaves out one fold of the development patients
    ensemble_weights  of the members; empty: all alike
    segmenter      "outliner": locator and outliner; "yolo": YOLO11-seg (segmenter.toml, extra `yolo`, AGPL-3.0) finds
                   and outlines cells, and the outliner draws nuclei in them
    match_iou      contour IoU that makes a predicted cell an expert's cell
    crop           "contour": centred on the contour at target_um_per_px (`crop_contour`); "box": around the contour's
                   box (`crop.crop_cells`); pad: share of the cell on either side where the box or no scale rules
    background     around the contour: "keep", "blur" or "mask"
    stain          nuclei brought to the development centres' stain density (`crop.match_nuclei`)
    second_epochs, second_rate  of stage 2 (YOLO to YOLO); 0 epochs: stage 1 only
    imbalance, beta, gamma  see train/crops/imbalance.py
    center_border, ring, ring_weight, swap_weight  see train/crops/center_border.py
    morphology_weight  of the auxiliary regression; 0: none
    cells_per_class    of a member's training cells, at most; 0: all
    ablation       train the first member again without each component
    manual_cells   cells that the manual count of the first baseline counts
    local_cells    labelled cells of a validation centre's other patients with which a ratio is corrected once more; 0:
                   leave it out
    """

    name: str
    taxonomy: str = "marrow-16"
    composite: str = "cblc"
    composites: dict = field(default_factory=dict)
    folds: int = 3
    ensemble_weights: tuple = ()
    segmenter: str = "outliner"
    match_iou: float = 0.5
    crop: str = "contour"
    target_um_per_px: float | None = 0.2
    pad: float = 0.25
    background: str = "keep"
    stain: bool = True
    second_epochs: int = 1
    second_rate: float = 1e-4
    imbalance: tuple = ("effective_number",)
    beta: float = 0.999
    gamma: float = 2.0
    center_border: tuple = ("swap",)
    ring: float = 0.15
    ring_weight: float = 0.5
    swap_weight: float = 2.0
    morphology_weight: float = 0.2
    cells_per_class: int = 0
    ablation: bool = True
    manual_cells: int = 200
    local_cells: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("imbalance", IMBALANCE), ("center_border", CENTER_BORDER)):
            wrong = sorted(set(getattr(self, name)) - set(known))
            if wrong:
                raise ConfigError(f"study.toml: {name} may name {', '.join(known)}, got {', '.join(wrong)}")
        if self.segmenter not in SEGMENTERS:
            known = ", ".join(SEGMENTERS)
            raise ConfigError(f"study.toml: segmenter must be one of {known}, got {self.segmenter!r}")
        if self.crop not in CROPS:
            raise ConfigError(f"study.toml: crop must be one of {', '.join(CROPS)}, got {self.crop!r}")
        if self.folds < 2:
            raise ConfigError(f"study.toml: folds must be at least 2, for the left-out patients; got {self.folds}")
        if self.ensemble_weights and len(self.ensemble_weights) != self.folds:
            n = len(self.ensemble_weights)
            raise ConfigError(f"study.toml: ensemble_weights needs {self.folds} values, got {n}")

    def read_taxonomy(self) -> Taxonomy:
        """The taxonomy with an artefact class and the user's composites; ConfigError when the main one is missing."""
        taxonomy = with_artefact(read_taxonomy(self.taxonomy))
        taxonomy = replace(taxonomy, composites=taxonomy.composites | {k: tuple(v) for k, v in self.composites.items()})
        if self.composite not in taxonomy.composites:
            have = ", ".join(taxonomy.composites) or "none"
            raise ConfigError(
                f"study.toml: taxonomy {taxonomy.name!r} has no composite {self.composite!r}; it has {have}"
            )
        return taxonomy


def with_artefact(taxonomy: Taxonomy) -> Taxonomy:
    """The taxonomy with an uncounted last class for what is no cell, if it has none.

    Without one every predicted contour that is no expert's cell (a smudge, debris, half a cell) must be called a
    counted class, and stands in the denominator.
    """
    if taxonomy.artefacts:
        return taxonomy
    name = f"{taxonomy.name}-{ARTEFACT}"
    return replace(taxonomy, name=name, names=(*taxonomy.names, ARTEFACT), artefacts=(ARTEFACT,))


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """What the configuration folder holds: the study's settings, and each network's (detector, segmenter: None where
    left out)."""

    study: StudyConfig
    classifier: FinetuneConfig
    locator: LocatorConfig
    outliner: OutlinerConfig
    detector: DetectorConfig | None
    segmenter: YoloSegConfig | None = None

    def settings(self) -> dict[str, dict | None]:
        """Plain values by file."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        settings = {name: asdict(part) if part else None for name, part in parts.items()}
        if self.segmenter is None:  # as studies were told before there was one: they can be resumed
            del settings["segmenter"], settings["study"]["segmenter"]
        return settings


def read_settings(folder: str | Path) -> StudyFiles:
    """Read study.toml, classifier.toml, locator.toml, outliner.toml and, where they are, detector.toml and
    segmenter.toml."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"no configuration folder {folder}: expected one with study.toml, such as configs/cblc-small")
    built = {}
    for name, (kind, task) in _KINDS.items():
        path = folder / f"{name}.toml"
        if name in ("detector", "segmenter") and not path.is_file():
            built[name] = None
            continue
        values = read_toml(path)
        if values.pop("task", task) != task:
            raise ConfigError(f"{path}: task must be {task!r}")
        built[name] = build_config(kind, values, path)
    if (built["study"].segmenter == "yolo") != (built["segmenter"] is not None):
        raise ConfigError(
            f'{folder}: segmenter = "yolo" in study.toml and segmenter.toml (task = "segment", such as '
            "configs/yolo11-seg.toml) go together: give both or neither"
        )
    return StudyFiles(**built)


_KINDS = {
    "study": (StudyConfig, "study"),
    "classifier": (FinetuneConfig, "finetune"),
    "locator": (LocatorConfig, "locate"),
    "outliner": (OutlinerConfig, "outline"),
    "detector": (DetectorConfig, "detect"),
    "segmenter": (YoloSegConfig, "segment"),
}

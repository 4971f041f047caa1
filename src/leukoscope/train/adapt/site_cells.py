"""A laboratory's cells without labels: of a data set, or found in photographs by the model's own locator."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset
from leukoscope.errors import ImageError
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import Bundle, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.pipeline.sources import Source, find_sources
from leukoscope.progress import Progress
from leukoscope.train.adapt.cells import read_site_cells
from leukoscope.train.adapt.site_head import last_features
from leukoscope.train.crops.data import CropSet


def hear_site(
    models: dict[str, Bundle], bundle: Bundle, network: CellClassifier, data: str | Path, progress: Progress
) -> tuple[CropSet, np.ndarray]:
    """The white cells of a data set folder or a folder of photographs, and what the last layer hears of each (N, F)."""
    if (Path(data) / "dataset.json").is_file():
        dataset = read_dataset(data)
    else:
        dataset = located(part_of_model(models, "locate"), Path(data), progress)
    rule = replace(bundle.card.crop, nucleus_density=None)
    cells = read_site_cells(dataset, rule, taxonomy=bundle.card.taxonomy, progress=progress)
    density = bundle.card.crop.nucleus_density
    features, _ = last_features(network, cells.crops, cells.extras["diameter_um"], density=density)
    return cells, features


def located(locator: Bundle, folder: Path, progress: Progress) -> Dataset:
    """The photographs below a folder as a data set of cells of unstated type; a folder is a patient, as in `analyze`.

    A photograph that can't be read is left out, for nothing rests on a single one. InputError for a folder without any.
    """
    sources = find_sources([folder], specimen="blood")
    session, least = Session(locator), locator.card.thresholds["score"]
    fields = []
    for done, source in enumerate(sources, 1):
        field = _field(source, session, least)
        if field is not None:
            fields.append(field)
        progress(done, len(sources))
    return Dataset(folder.resolve().name, folder.resolve(), tuple(fields), "not stated", "not stated", "photographs")


def _field(source: Source, session: Session, least: float) -> TruthField | None:
    try:
        picture = read_field(source.file, source.key)
    except ImageError:
        return None
    located = locate(picture, session)
    boxes = located.boxes[located.scores >= least]
    height, width = picture.pixels.shape[:2]
    cells = tuple(TruthCell(tuple(map(float, box)), None, "") for box in boxes)
    file = str(Path(source.file).resolve())
    return TruthField(source.key, file, "", width, height, cells)

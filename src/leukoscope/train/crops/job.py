"""From data sets to a fine-tuned bundle: which cells are trained and validated on, the run, the export."""

from collections.abc import Sequence
from pathlib import Path

from leukoscope.dataset.manifest import Dataset
from leukoscope.files import write_text
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.crops.bundle import export_finetuned, fits_one_file
from leukoscope.train.crops.data import (
    CropSet,
    of_one_class,
    read_crop_set,
    split_by_group,
    taxonomy_without,
    with_class_sets,
)
from leukoscope.train.crops.finetune import FinetuneConfig, finetune, load_finetuned
from leukoscope.train.fields import refuse_validation, seen_fields, validation_fields
from leukoscope.train.processes import join_processes, leave_processes


def finetune_datasets(
    config: FinetuneConfig,
    datasets: Sequence[Dataset],
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    command: str = "",
    commit: str = "",
) -> Path:
    """Fine-tune on data sets into run folder `out` and write its bundle; returns `out`.

    A network that one ONNX file can't hold (DinoBloom-G) gets no bundle; `not-exported.txt` says so.
    """
    train, val = training_crops(config, datasets)
    out = finetune(config, train, val, out, resume=resume, progress=progress)
    processes = join_processes()
    if processes.is_first and fits_one_file(load_finetuned(out)[0]):
        export_finetuned(out, out / "bundle", validation=val, command=command, commit=commit)
    elif processes.is_first:
        write_text(out / "not-exported.txt", f"{config.arch} is more than one ONNX file holds: no bundle.\n")
    processes.wait()
    leave_processes()
    return out


def training_crops(
    config: FinetuneConfig, datasets: Sequence[Dataset], *, masks: bool = False, progress: Progress = no_progress
) -> tuple[CropSet, CropSet]:
    """The cells to train and to validate on.

    The fields are those that the run may see (`train.fields`); where no data set has a split "val", config.val_share of
    the groups of cells is held out for validation (PCM, section 2.3.1: 80:20; groups are patients, or clusters of near
    duplicates where none are known). Cells without a class in the taxonomy are left out, unless config.class_sets says
    what they may be: these are trained on and validate nothing.
    """
    refuse_validation(config.splits)
    seen, stated = seen_fields(datasets, config.splits), validation_fields(datasets)
    options = {
        "taxonomy": taxonomy_without(read_taxonomy(config.taxonomy), config.exclude),
        "rule": config.crop_rule(),
        "white_balance": config.white_balance,
        "masks": masks,
    }
    train = read_crop_set(seen, progress=progress, **options)
    if config.class_sets:
        train = with_class_sets(train, config.class_sets)
    train = train.typed()
    if stated:
        return train, read_crop_set(stated, **options).typed()
    rest, held = split_by_group(train, config.val_share, seed=config.seed)
    return train.subset(rest), of_one_class(train.subset(held))

"""Which fields a run may see: one rule for every task.

- A data set that states splits is trained on in the configuration's `splits` (one field of it without a split is in
  none, and is not seen); a data set that states none is trained on whole.
- Fields of split "val" set thresholds and temperatures, and choose weights. Where no data set has any, a share of the
  fields that are seen is held out for that: by patient, else by field. A set of one patient trains whole.
- Patients and smears that a configuration holds out are not seen, whatever their split.
- A picture that is trained on stands nowhere else: byte-identical copies of fields that are not seen, in any of the
  data sets, are left out of training, and each picture of a set is trained on once.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.dataset.splits import drop_copies, split_by_patient
from leukoscope.errors import ConfigError

VALIDATION_SHARE = 0.15  # held out where no data set has a validation split


def with_validation(
    datasets: Sequence[Dataset], splits: tuple[str, ...], seed: int, share: float = VALIDATION_SHARE
) -> list[Dataset]:
    """The data sets, with a share of their patients or fields in split "val" where none of them has any."""
    refuse_validation(splits)
    if any(f.split == "val" for d in datasets for f in d.fields):
        return list(datasets)
    return [_divided(d, splits, seed, share) for d in datasets]


def refuse_validation(splits: tuple[str, ...]) -> None:
    """ConfigError where a run would be trained on what it is chosen by."""
    if "val" in splits:
        raise ConfigError(
            "splits has val, which chooses the weights, thresholds and temperature: train on another split"
        )


def seen_fields(
    datasets: Sequence[Dataset], splits: tuple[str, ...], *, without: Collection[str] = ()
) -> list[Dataset]:
    """The fields of each data set that are trained on, without copies of those that are not; a set may end empty.

    without  patients or smears, by name, that the run may not see
    """
    hidden = [_part(d, splits, seen=False, without=without) for d in datasets]
    return [drop_copies(_part(d, splits, seen=True, without=without), *hidden) for d in datasets]


def validation_fields(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The validation fields of the data sets that have any."""
    held = [replace(d, fields=tuple(f for f in d.fields if f.split == "val")) for d in datasets]
    return [d for d in held if d.fields]


def _part(dataset: Dataset, splits: tuple[str, ...], *, seen: bool, without: Collection[str] = ()) -> Dataset:
    has_splits = any(f.split for f in dataset.fields)

    def is_seen(field: TruthField) -> bool:
        return (not has_splits or field.split in splits) and not {field.key.patient_id, field.key.smear_id} & {*without}

    return replace(dataset, fields=tuple(f for f in dataset.fields if is_seen(f) == seen))


def _divided(dataset: Dataset, splits: tuple[str, ...], seed: int, share: float) -> Dataset:
    seen, hidden = (_part(dataset, splits, seen=seen) for seen in (True, False))
    if len({_who(f) for f in seen.fields}) < 2:
        return dataset
    cut = split_by_patient(seen, {"train": 1 - share, "val": share}, seed=seed, group=_who)
    trained = splits[0] if splits else "train"
    fields = tuple(replace(f, split=trained) if f.split == "train" else f for f in cut.fields)
    return replace(dataset, fields=fields + hidden.fields)


def _who(field: TruthField) -> str:
    return field.key.patient_id or field.key.field_id

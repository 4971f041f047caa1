"""`patients.csv`: a row a patient: counts, ratios with their limits, flags."""

from pathlib import Path

from leukoscope.entries import RatioEntry
from leukoscope.files import write_table
from leukoscope.report.record import read_record

COLUMNS = ("patient_id", "specimen", "centers", "smears", "n_fields", "n_failed", "n_poor", "n_cells", "denominator",
           "n_counted", "n_unidentified")  # fmt: skip
PER_100 = ("nucleated_red_per_100", "artefacts_per_100")
STATED = ("age_years", "sex", "leukocytes_per_nl")
RATIO_COLUMNS = ("numerator", "denominator", "value", "low", "high", "band", "corrected", "corrected_low",
                 "corrected_high")  # fmt: skip


def write_patients_csv(record_path: str | Path, out_csv: str | Path) -> None:
    """Write a row for each patient of the record, in its order.

    COLUMNS; STATED (what patients.csv said, empty where nothing); n_CLASS for each class of the taxonomy; PER_100; for
    each ratio NAME_ and RATIO_COLUMNS (shares in [0, 1]); `flags`, their codes joined by "; ". For spreadsheets
    (`leukoscope.files.write_table`). The file appears whole or not at all.
    """
    record = read_record(record_path)
    names = list(dict.fromkeys(ratio["name"] for patient in record.patients for ratio in patient["ratios"]))
    with write_table(out_csv) as table:
        table.writerow([
            *COLUMNS, *STATED, *(f"n_{name}" for name in record.taxonomy.names), *PER_100,
            *(f"{name}_{column}" for name in names for column in RATIO_COLUMNS), "flags",
        ])  # fmt: skip
        for patient in record.patients:
            counts = {row["class"]: row["count"] for row in patient["differential"]}
            ratios = {ratio["name"]: ratio for ratio in patient["ratios"]}
            stated = patient.get("stated") or {}
            who = [patient["patient_id"], patient["specimen"]]
            who += ["; ".join(patient[key]) for key in ("center", "smear_ids")]
            table.writerow([
                *who, *(patient[key] for key in COLUMNS[4:]), *(stated.get(key) for key in STATED),
                *(counts[name] for name in record.taxonomy.names), *(patient[key] for key in PER_100),
                *(value for name in names for value in _ratio(ratios.get(name))),
                "; ".join(flag["code"] for flag in patient["flags"]),
            ])  # fmt: skip


def _ratio(ratio: RatioEntry | None) -> list:
    """RATIO_COLUMNS of one ratio; empty cells for what there is not."""
    if ratio is None:
        return [None] * len(RATIO_COLUMNS)
    corrected = ratio.get("corrected") or {}
    values = [ratio[key] for key in ("numerator", "denominator", "value", "low", "high", "band")]
    return values + [corrected.get(key) for key in ("value", "low", "high")]

"""Tables, figures, checklist and page of a finished study."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from leukoscope.evaluate.agreement import bland_altman as bland_altman_of
from leukoscope.evaluate.agreement import passing_bablok
from leukoscope.experiments import figures
from leukoscope.experiments.cblc import figures as own_figures
from leukoscope.experiments.cblc import tables, verdicts
from leukoscope.experiments.cblc.cohort import DEVELOP, VALIDATE
from leukoscope.experiments.cblc.crops import matched_cells
from leukoscope.experiments.cblc.facts import known_facts
from leukoscope.experiments.cblc.measure import area, patient_scores
from leukoscope.experiments.cblc.result import StudyResult
from leukoscope.experiments.cblc.segment import expert_contours
from leukoscope.experiments.cblc.verdicts import Ratios, corrected, make_ratios, parts, raw
from leukoscope.experiments.checklists import checklists
from leukoscope.experiments.page import Section, facts, figure, gallery, paragraph, plots, study_page
from leukoscope.experiments.tables import Table, table_html, words, write_table
from leukoscope.files import write_bytes, write_text
from leukoscope.images import read_field
from leukoscope.report.words import class_words

RENDERED = "rendered"
LIN = "Lin's concordance"


def write_report(result: StudyResult) -> Path:
    """Write tables/*.csv, figures/*, the checklists and study.html into the study's folder; returns the page."""
    out, ratios = result.options.out, make_ratios(result)
    every = make_tables(result, ratios)
    for table in every.values():
        write_table(table, out / "tables")
    drawn = draw_figures(result, ratios, every)
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for name, image in drawn.items():
        write_bytes(folder / f"{name}{'.jpg' if image.startswith(bytes([0xFF, 0xD8])) else '.svg'}", image)
    known = known_facts(result, ratios)
    title = f"From cells to a patient: {result.files.study.name}"
    for checklist in checklists():
        write_text(out / f"{checklist.name}.md", checklist.markdown(known, title=title))
    page = study_page(
        title, notices(result), sections(result, ratios, every, drawn, known),
        meta=meta(result), first=facts(result.about.items()),
    )  # fmt: skip
    write_text(out / "study.html", page)
    return out / "study.html"


def make_tables(result: StudyResult, ratios: Ratios) -> dict[str, Table]:
    """Every table by its name."""
    made = [
        tables.patients_table(result), tables.splits_table(result), tables.folds_table(result),
        tables.segmentation_table(result), tables.cells_table(result), tables.classes_table(result),
        tables.confusion_table(result), verdicts.diagnosis_table(ratios), verdicts.agreement_table(ratios),
        verdicts.correction_table(ratios), verdicts.baselines_table(result, ratios), tables.ablation_table(result),
        verdicts.composites_table(result), verdicts.ratios_table(ratios), verdicts.smears_table(ratios),
        tables.seconds_table(result),
    ]  # fmt: skip
    return {t.name: t for t in made}


def draw_figures(result: StudyResult, ratios: Ratios, every: dict[str, Table]) -> dict[str, bytes]:
    """Every figure's bytes by its name."""
    by_part = parts(ratios.patients)
    curves = {}
    for name, of_part in by_part.items():
        scores = patient_scores(of_part, corrected)
        if len(scores.score) and 0 < scores.positive.sum() < len(scores.positive):
            curves[name] = (*_roc_points(scores.positive, scores.score), area(scores).value)
    drawn = {"roc": figures.roc(curves, "AML or not by the corrected ratio")}
    held = by_part[tables.POOLED]
    for name, value in (("raw", raw), ("corrected", corrected)):
        drawn |= _agreement_figures(held, name, value)
    names = result.cohort.taxonomy.names
    drawn["confusion"] = figures.confusion(tables.validation_confusion(result), names, "Ensemble, validation centres")
    effects = {str(row[0]): row[1] for row in every["ablation"].rows}
    drawn["ablation"] = own_figures.effects(
        {k: _points(v) for k, v in effects.items()}, "Effect of each component",
        x_label="Weighted F1 with it minus without it, points",
    )  # fmt: skip
    serial = _serial(ratios)
    if serial:
        drawn["trend"] = own_figures.trend(serial, "Serial smears")
    return drawn | _field_figures(result) | _curves(result)


def sections(
    result: StudyResult, ratios: Ratios, every: dict[str, Table], drawn: dict[str, bytes], known: dict[str, str]
) -> list[Section]:
    """The parts of the page."""
    composite = result.files.study.composite
    html = {name: table_html(t) for name, t in every.items()}

    def shown(*named: tuple[str, str]) -> str:
        return plots(
            [figure(drawn[n], caption, wide=drawn[n][:2] == b"\xff\xd8") for n, caption in named if n in drawn]
        )

    pairs = [(f"fields-{c}", f"{c}: expert's contours green, predicted red dots") for c in _field_centers(result)]
    n_cells = len(result.cohort.taxonomy.composites[composite])
    numerator = f"{composite} is the sum of {n_cells} classes: " + ", ".join(
        class_words(n) for n in result.cohort.taxonomy.composites[composite]
    )
    in_csv = paragraph("In full: tables/splits.csv and tables/ratios.csv, a row a patient.", kind="hint")
    serial = (
        ""
        if "trend" in drawn
        else paragraph("No patient of this cohort has more than one smear: there is no trend to show.", kind="hint")
    )
    missed = _gallery(result)
    confused = shown(("confusion", "Ensemble, validation centres; artefact: what is no expert's cell"))
    curves = shown(("roc", "ROC by centre, corrected ratio"))
    agreeing = shown(
        ("ratio-raw", "Raw ratio against the expert's, validation patients"),
        ("ratio-corrected", "Corrected ratio against the expert's, validation patients"),
        ("bland-altman-raw", "Bland-Altman, raw"),
        ("bland-altman-corrected", "Bland-Altman, corrected"),
    )
    effects = shown(("ablation", "Effect on weighted F1"))
    moved = shown(("trend", "Corrected ratio of serial smears")) + (html["smears"] if "trend" in drawn else "")
    trained = shown(("training", "Each member: the epochs of stage 1, then those of stage 2"))
    bodies = (
        ("short", "In short", facts(in_short(result, every))),
        ("patients", "Who is in it", paragraph(numerator + ".") + html["patients"] + html["folds"] + in_csv),
        ("segmentation", "Cells found and outlined", html["segmentation"] + shown(*pairs)),
        ("cells", "Cells named", html["cells"] + confused + html["classes"] + missed),
        ("diagnosis", "Patients: AML or not", html["diagnosis"] + curves),
        ("agreement", "The ratio against the expert's count", html["agreement"] + agreeing),
        ("correction", "Does the correction help?", html["correction"] + html["composites"]),
        ("baselines", "What it must beat", html["baselines"]),
        ("ablation", "Each component on and off", html["ablation"] + effects),
        ("smears", "Smears and trends", serial + moved),
        ("training", "Training", trained + html["seconds"]),
        ("checklists", "Reporting checklists", "".join(table_html(c.table(known)) for c in checklists())),
        ("limits", "What this can't say", paragraph(known["limits"])),
    )
    return [Section(*body) for body in bodies]


def in_short(result: StudyResult, every: dict[str, Table]) -> list[tuple[str, str]]:
    """What the paper reported and what its referees missed, a line each, from the tables."""

    def cell_of(name: str, heading: str, **wanted: str) -> str:
        table = every[name]
        place = {c.heading: i for i, c in enumerate(table.columns)}
        rows = [r for r in table.rows if all(r[place[k]] == v for k, v in wanted.items())]
        unit = " %" if rows and table.columns[place[heading]].as_percent else ""
        return f"{words(rows[0][place[heading]], table.columns[place[heading]])}{unit}" if rows else "not measured"

    held, whole = result.cohort.centers(VALIDATE), {"Patients of": tables.POOLED}
    cells = [f"{c} {cell_of('cells', 'Weighted F1', Centre=c, System='ensemble')}" for c in held]
    lines = [(f"Cells: weighted F1, {len(result.cohort.taxonomy.counted)} classes", "; ".join(cells))]
    for name in ("raw count", "corrected"):
        of = whole | {"Ratio": name}
        lines.append(
            (f"Patients: AML or not, {name}",
             f"AUROC {cell_of('diagnosis', 'AUROC', **of)}; sensitivity {cell_of('diagnosis', 'Sensitivity', **of)}, "
             f"specificity {cell_of('diagnosis', 'Specificity', **of)} at the threshold fixed in development")
        )  # fmt: skip
        lines.append(
            (f"Ratio against the expert's, {name}",
             f"mean absolute error {cell_of('agreement', 'Mean absolute error', **of)}; bias "
             f"{cell_of('agreement', 'Bias', **of)}; Lin's concordance {cell_of('agreement', LIN, **of)}")
        )  # fmt: skip
    lines.append(("Nominal 95 % limits", coverage_words(every["correction"])))
    note = "All on validation centres, which nothing was trained, chosen or fixed on; 95 % limits in brackets."
    return [*lines, ("Where", note), ("Pre-registration", result.registration)]


def coverage_words(table: Table) -> str:
    """Whether the corrected limits hold what they say, in development and in validation."""
    place = {c.heading: i for i, c in enumerate(table.columns)}
    said = []
    for part in ("development, left out", tables.POOLED):
        for row in (r for r in table.rows if r[0] == part):
            held = row[place["Expert within corrected limits"]]
            met = "as asked" if held.value >= verdicts.HELD else f"below the {100 * verdicts.HELD:.0f} % asked"
            share = f"{100 * held.value:.0f} % of {held.n} patients, {met}"
            said.append(f"{part}, by the {row[1]}: they hold the expert's ratio in {share}")
    return "; ".join(said) or "not measured"


def notices(result: StudyResult) -> list[str]:
    """What a reader must not miss."""
    lines = []
    if result.cohort.dataset.name.startswith(RENDERED) or result.cohort.dataset.source_format == RENDERED:
        lines.append(
            "Rendered smears: every cell is a drawing. These numbers show that the study runs and how its parts "
            "compare; they say nothing about patients."
        )
    if result.not_as_registered:
        lines.append(result.registration)
    unknown = sum(not p.diagnosis for p in result.cohort.patients.values())
    if unknown:
        lines.append(f"{unknown} patients have no diagnosis: they count for agreement, not for AML or not.")
    return lines


def meta(result: StudyResult) -> str:
    """The line under the title."""
    n = {role: len(result.cohort.of(role)) for role in (DEVELOP, VALIDATE)}
    return (
        f"{result.cohort.dataset.name}: {n[DEVELOP]} patients of {len(result.cohort.centers(DEVELOP))} development "
        f"centres, {n[VALIDATE]} of {len(result.cohort.centers(VALIDATE))} validation centres"
    )


def _agreement_figures(held: list, name: str, value: Callable) -> dict[str, bytes]:
    kept = [r for r in held if math.isfinite(value(r)) and math.isfinite(r.expert)]
    if len(kept) < 3:
        return {}
    x, y = np.array([r.expert for r in kept]), np.array([value(r) for r in kept])
    line, plot = passing_bablok(x, y), bland_altman_of(x, y)
    axes = {"x_label": "Expert's ratio", "y_label": f"Automated ratio, {name}"}
    fitted = (line.slope.value, line.intercept.value)
    return {
        f"ratio-{name}": figures.scatter_agreement(x, y, f"{name.capitalize()} ratio", line=fitted, **axes),
        f"bland-altman-{name}": figures.bland_altman(
            (x + y) / 2,
            y - x,
            plot.bias.value,
            (plot.lower.value, plot.upper.value),
            f"{name.capitalize()} minus expert",
        ),
    }


def _roc_points(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cuts = [np.inf, *np.unique(score)[::-1]]
    return (
        np.array([(score[~positive] >= c).mean() for c in cuts]),
        np.array([(score[positive] >= c).mean() for c in cuts]),
    )


def _points(value):
    """An estimate of a share in percentage points."""
    from dataclasses import replace

    return replace(value, value=100 * value.value, low=100 * value.low, high=100 * value.high)


def _serial(ratios: Ratios) -> dict:
    series: dict[str, list] = {}
    for s in ratios.smears:
        series.setdefault(s.patient.key, []).append((s.smear, s.corrected, s.low, s.high))
    several = {k: v for k, v in series.items() if len(v) > 1}
    return dict(list(several.items())[:8])


def _field_centers(result: StudyResult) -> list[str]:
    return [*result.cohort.centers(DEVELOP)[:1], *result.cohort.centers(VALIDATE)]


def _field_figures(result: StudyResult) -> dict[str, bytes]:
    """Part of one field of a development centre and of each validation centre, with both contours."""
    dataset, drawn = result.cohort.dataset, {}
    for center in _field_centers(result):
        row = next(i for i, f in enumerate(dataset.fields) if f.key.center == center and f.cells)
        field, cells = dataset.fields[row], result.cells[row]
        pixels = read_field(dataset.path(field), field.key, um_per_px=field.um_per_px).pixels
        height, width = pixels.shape[0] * 2 // 3, pixels.shape[1] * 2 // 3
        drawn[f"fields-{center}"] = own_figures.field_contours(
            np.ascontiguousarray(pixels[:height, :width]), expert_contours(field), cells.contours
        )
    return drawn


def _curves(result: StudyResult) -> dict[str, bytes]:
    """Loss and validation macro-F1 of the members' stages."""
    panels: dict[str, dict] = {"training loss": {}, "validation macro-F1": {}}
    for number in range(result.files.study.folds):
        losses, scores = [], []
        for stage in ("stage-1", "stage-2"):
            path = result.options.out / "work" / f"member-{number}" / stage / "log.csv"
            if path.is_file():
                with open(path, newline="", encoding="utf-8") as file:
                    rows = list(csv.DictReader(file))
                losses += [float(r["train_loss"]) for r in rows]
                scores += [float(r["val_macro_f1"]) for r in rows if r.get("val_macro_f1")]
        panels["training loss"][f"member {number + 1}"] = (list(range(1, len(losses) + 1)), losses)
        panels["validation macro-F1"][f"member {number + 1}"] = (list(range(1, len(scores) + 1)), scores)
    return {"training": figures.training_curves(panels)}


def _gallery(result: StudyResult) -> str:
    """Wrong calls of the validation centres that were surest, balanced-background crops as the classifier saw them."""
    p = result.predictions
    rows = np.flatnonzero(~p.develop & matched_cells(p.crops))
    probs = p.ensemble[rows]
    wrong = rows[probs.argmax(1) != p.crops.labels[rows]]
    surest = wrong[np.argsort(-p.ensemble[wrong].max(1), kind="stable")][:18]
    names = p.crops.taxonomy.names
    items = []
    for row in surest:
        call = int(p.ensemble[row].argmax())
        line = f"{class_words(names[p.crops.labels[row]])} called {class_words(names[call])}"
        items.append(
            (p.crops.crops[row], line, f"{p.crops.extras['centers'][row]}, probability {p.ensemble[row, call]:.2f}")
        )
    return "<h3>Surest wrong calls</h3>" + gallery(items) if items else ""

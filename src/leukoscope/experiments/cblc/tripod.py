"""A TRIPOD+AI checklist stub: what a run can know is filled in, the rest says who must write it.

Items after Collins et al., BMJ 2024;385:e078378 (27 items), in our own words: read the statement for theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

AUTHORS = "to be written by the authors"

# Number, section, what is asked for, key of the facts that a run knows (or None).
ITEMS: tuple[tuple[str, str, str, str | None], ...] = (
    ("1", "Title", "says: developing or evaluating a prediction model, in whom, for what outcome", None),
    ("2", "Abstract", "follows TRIPOD+AI for abstracts", None),
    ("3a", "Introduction", "the healthcare context, why the model, and who is to use it", "use"),
    ("3b", "Introduction", "known differences in health between groups of people", None),
    ("4", "Introduction", "objectives: development, validation, or both", "objective"),
    ("5a", "Methods: data", "sources, apart for development and evaluation; why representative", "sources"),
    ("5b", "Methods: data", "dates of collection and of follow-up", None),
    ("6a", "Methods: participants", "setting, number and location of centres", "centres"),
    ("6b", "Methods: participants", "who was eligible", None),
    ("6c", "Methods: participants", "treatments received, where they matter", None),
    ("7", "Methods: data preparation", "processing and quality checks, alike across groups", "preparation"),
    ("8a", "Methods: outcome", "outcome, how and when assessed, and why", "outcome"),
    ("8b", "Methods: outcome", "who assessed it, with what qualification", None),
    ("8c", "Methods: outcome", "blinding of the assessment", None),
    ("9a", "Methods: predictors", "how predictors were chosen", "predictors"),
    ("9b", "Methods: predictors", "definition and measurement of predictors, and blinding", "predictors"),
    ("9c", "Methods: predictors", "who measured them, with what qualification", None),
    ("10", "Methods: sample size", "how the study's size was arrived at", "size"),
    ("11", "Methods: missing data", "how missing data were handled", "missing"),
    ("12a", "Methods: analysis", "how data were used: partitions for development and evaluation", "partition"),
    ("12b", "Methods: analysis", "how predictors entered the analysis (form, scaling)", "scaling"),
    ("12c", "Methods: analysis", "type of model, its building, hyperparameters, internal validation", "model"),
    ("12d", "Methods: analysis", "heterogeneity across centres", "heterogeneity"),
    ("12e", "Methods: analysis", "measures and plots of performance, and comparison of models", "measures"),
    ("12f", "Methods: analysis", "any updating of the model, for all or for one centre", "updating"),
    ("12g", "Methods: analysis", "how predictions were computed", "prediction"),
    ("13", "Methods: class imbalance", "whether, why and how it was handled, and recalibration after it", "imbalance"),
    ("14", "Methods: fairness", "how fairness was addressed", None),
    ("15", "Methods: model output", "what the model gives out, and how thresholds were found", "threshold"),
    ("16", "Methods: training and evaluation", "differences between them", "difference"),
    ("17", "Methods: ethics", "approval, consent or waiver", None),
    ("18a", "Open science: funding", "source and role of funders", None),
    ("18b", "Open science: conflicts", "conflicts of interest", None),
    ("18c", "Open science: protocol", "where the protocol is, or that there is none", None),
    ("18d", "Open science: registration", "register and number, or that there is none", None),
    ("18e", "Open science: data", "where the data are", "data"),
    ("18f", "Open science: code", "where the code is", "code"),
    ("19", "Patients and public", "their part in the study", None),
    ("20a", "Results: participants", "flow of patients, with and without the outcome", "flow"),
    ("20b", "Results: participants", "characteristics, by centre; missing data", "flow"),
    ("20c", "Results: participants", "for evaluation: comparison with the development data", "difference"),
    ("21", "Results: model development", "patients and events in each analysis", "events"),
    ("22", "Results: model", "the full model, so that others can use it", "bundle"),
    ("23a", "Results: performance", "estimates with intervals, in key groups too", "performance"),
    ("23b", "Results: performance", "heterogeneity across centres", "heterogeneity"),
    ("24", "Results: updating", "results of any updating", "updating"),
    ("25", "Discussion: interpretation", "overall interpretation, fairness, earlier studies", None),
    ("26", "Discussion: limitations", "limits: sample, size, overfitting, missing data", "limits"),
    ("27a", "Discussion: usability", "how poor or absent input is handled", "poor_input"),
    ("27b", "Discussion: usability", "what users must do and know", "use"),
    ("27c", "Discussion: usability", "next steps of research, and how far results apply elsewhere", None),
)  # fmt: skip


def checklist(facts: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Rows (item, section, what is asked for, what the run says); what a run can't know is left to the authors."""
    return [(number, section, asked, facts.get(key or "", "") or AUTHORS) for number, section, asked, key in ITEMS]


def checklist_markdown(facts: Mapping[str, str], *, title: str) -> str:
    """The checklist as a Markdown table, to be filled in."""
    lines = [
        f"# TRIPOD+AI checklist (stub): {title}",
        "",
        "Filled in as far as the run knows. Items in our own words after Collins et al., BMJ 2024;385:e078378.",
        "",
        "| item | section | asks for | this study |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(v) for v in row)} |" for row in checklist(facts))]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())

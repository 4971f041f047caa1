"""What a run of the PCM study knows of itself, for the reporting checklists."""

from __future__ import annotations

from leukoscope.experiments.pcm.data import EXTERNAL, TARGET
from leukoscope.experiments.pcm.result import StudyRun


def known_facts(run: StudyRun) -> dict[str, str]:
    """{fact of checklists.toml: words}; a fact that this run lacks is not there."""
    study, config = run.study, run.config
    sets = "; ".join(
        f"{s.name}, digest {s.source.sha256()[:12]}, {len(s.source.fields)} photographs, licence: {s.source.licence}"
        for s in study.sets
    )
    patients = sorted({f"{f.key.center}/{f.key.patient_id}" for f in study.data.source.fields if f.key.patient_id})
    others = [s.name for s in (*study.of_role(EXTERNAL), *study.of_role(TARGET))]
    done = [p.label for p in config.rows if run.rows[p.name].is_done]
    leaks = "; ".join(study.leaks) or "nothing stands on two sides"
    return {
        "use": "Research use only, not for diagnosis; a morphologist must review every cell called a blast.",
        "objective": f"Development and test on {study.data.name}"
        + (f"; external test on {', '.join(others)}." if others else "; no external set."),
        "sources": sets + ".",
        "preparation": f"Classes mapped to {study.taxonomy.name}; "
        + (f"near duplicates audited: {leaks}." if config.audit else "no audit was made."),
        "outcome": "The class and box that the set's annotators gave.",
        "predictors": "The photograph alone.",
        "size": f"{len(study.data.source.fields)} photographs, {len(patients) or 'no stated'} patients were there; no "
        "sample size was computed.",
        "missing": "Cells of a class that the taxonomy lacks are left out and counted (table labels).",
        "partition": f"{study.split_by}; limits by {study.data.groups.unit}.",
        "model": f"{len(config.rows)} systems, each with its settings in rows/NAME; done: {', '.join(done) or 'none'}.",
        "heterogeneity": "Every set by itself: tables 4 to 7.",
        "measures": "AP50-95 and AP50 as COCO computes them, macro-F1, accuracy, F1 end to end, ECE, coverage.",
        "updating": "Adaptation rows: a share of the target's cells labelled." if study.of_role(TARGET) else "None.",
        "prediction": "Detect, or locate, crop and classify.",
        "threshold": "Each system's on validation photographs.",
        "difference": "Table sets compares the sets.",
        "data": "; ".join(f"{s.name}: cite {s.source.citation}" for s in study.sets) + ".",
        "code": f"Leukoscope, {run.provenance['commit']}; command: {run.provenance['command']}.",
        "flow": "Table sets: photographs, cells and groups by set and split; table labels: what was left out.",
        "performance": "Tables 4 to 7, each number with limits.",
        "errors": "Confusion matrices, curves and galleries of wrong calls on the page.",
        "available": f"Code: Leukoscope, {run.provenance['commit']}. Models: rows/. Data: see sources.",
        "software": f"{run.provenance['versions']}; {run.provenance['machine']}.",
        "start": "Each row's weights stand in its configuration and its row's record.",
        "training": "Each row's configuration: rows/NAME; curves on the page.",
        "choice": "Epochs, thresholds and temperatures on validation photographs.",
        "uncertainty": f"95 % limits, whole groups left out in turn ({study.data.groups.unit}); paired differences.",
        "internal": "A test split apart from training and validation.",
        "same_cells": "None: both read the same photographs.",
        "preregistration": run.registration,
        "limits": "One set's annotators; intervals by what the set states (patients, or near-duplicate clusters). "
        + leaks
        + ".",
    }

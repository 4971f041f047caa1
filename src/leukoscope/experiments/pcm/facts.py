"""What a run of the PCM study knows of itself, for the reporting checklists."""

from leukoscope.experiments.checklists import filled_facts
from leukoscope.experiments.pcm.data import EXTERNAL, TARGET
from leukoscope.experiments.pcm.result import StudyRun


def known_facts(run: StudyRun) -> dict[str, str]:
    """{fact of checklists.toml: words}; a fact that this run lacks is not there."""
    study, config = run.study, run.config
    sets = (
        f"{s.name}, digest {s.source.sha256()[:12]}, {len(s.source.fields)} photographs, licence: {s.source.licence}"
        for s in study.sets
    )
    patients = {f"{f.key.center}/{f.key.patient_id}" for f in study.data.source.fields if f.key.patient_id}
    others = [s.name for s in (*study.of_role(EXTERNAL), *study.of_role(TARGET))]
    leaks = "; ".join(study.leaks) or "nothing stands on two sides"
    words = {
        "study": study,
        "data": study.data,
        "about": run.provenance,
        "sets": "; ".join(sets),
        "external": f"external test on {', '.join(others)}" if others else "no external set",
        "audit": f"near duplicates audited: {leaks}" if config.audit else "no audit was made",
        "n_photographs": len(study.data.source.fields),
        "n_patients": len(patients) or "no stated",
        "n_systems": len(config.rows),
        "done": ", ".join(p.label for p in config.rows if run.rows[p.name].is_done) or "none",
        "updating": "Adaptation rows: a share of the target's cells labelled." if study.of_role(TARGET) else "None.",
        "citations": "; ".join(f"{s.name}: cite {s.source.citation}" for s in study.sets),
        "registration": run.registration,
        "leaks": leaks,
    }
    return filled_facts("pcm/facts.toml", words)

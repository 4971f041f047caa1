"""`leukoscope study pcm`: audit, run the rows that are not done, write tables, figures and the page."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.experiments.pcm.config import EXTRAS, RowPlan, StudyConfig, read_study
from leukoscope.experiments.pcm.data import TARGET, Folders, StudyData, open_study
from leukoscope.experiments.pcm.report import write_study
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.preregistration import differences, register, words
from leukoscope.experiments.provenance import provenance
from leukoscope.experiments.rows import NOT_RUN, Row, fingerprint_of, keep_row, read_row, row_folder, run_row
from leukoscope.progress import StageProgress, no_stages
from leukoscope.train.config import read_toml

RESULT_VERSION = 1  # of what rows keep: a row of another version is refused, not misread
PRIMARY = (
    "mAP50-95 and mAP50 of detectors, macro-F1 and accuracy of classifiers, macro-F1 end to end, on test and external "
    "sets; thresholds, temperatures and conformal sets from validation photographs alone"
)
_LONG = 60.0  # seconds: after a row that took longer, the page is written before the next begins


def run_study(
    config: str | Path,
    folders: Folders,
    out: str | Path,
    *,
    only: Sequence[str] = (),
    resume: bool = False,
    progress: StageProgress = no_stages,
    say: Callable[[str], None] = lambda line: None,
) -> StudyRun:
    """Run the study of `config` (a folder or a study.toml) on data set folders; see docs/studies/pcm.md.

    only      names of rows to run, with those they build on; the page then shows what is there of the others
    resume    unfinished rows go on from their checkpoints; finished ones are never run again
    progress  called with (what, done, total); say: with a line a row
    Writes OUT/study.html, OUT/tables/*.csv, OUT/figures/*, OUT/rows/NAME/. A row that fails or can't run says so in
    its table and the others go on.
    """
    settings = read_study(config)
    plans = _asked(settings, only)
    out = Path(out)
    study = open_study(settings, folders, out, progress=progress)
    say(_audit_line(study, settings))
    register(out, registration_facts(settings, study))
    for plan in plans:
        row = _run(settings, plan, study, out, resume=resume, progress=progress)
        say(f"{plan.name}: {row.status}" + (f" ({row.reason})" if row.reason else f" in {row.seconds:.0f} s"))
        if row.seconds > _LONG and plan is not plans[-1]:
            write_study(_as_it_stands(settings, study, out))
    run = _as_it_stands(settings, study, out)
    write_study(run)
    return run


def _as_it_stands(config: StudyConfig, study: StudyData, out: Path) -> StudyRun:
    rows = {p.name: read_row(out, p.name) for p in config.rows}
    facts = registration_facts(config, study)
    registered = register(out, facts)
    apart = differences(registered, facts)
    return StudyRun(config, study, rows, out, provenance(), words(registered, apart), tuple(apart))


def registration_facts(config: StudyConfig, study: StudyData) -> dict:
    """What is fixed before a row sees a test photograph: sets, splits, settings, rows, and what is measured."""
    settings = {p.name: read_toml(config.folder / p.config) if p.config else {} for p in config.rows}
    return {
        "study": "pcm",
        "data": study.digests(),
        "settings": fingerprint_of(config.settings()),
        "rows": {p.name: fingerprint_of(asdict(p), settings[p.name]) for p in config.rows},
        "analysis": {"primary": PRIMARY, "level": 0.95, "conformal_level": config.level},
    }


def _asked(config: StudyConfig, only: Sequence[str]) -> list[RowPlan]:
    """The rows to run, in order: all, or those named and what they build on."""
    wanted: set[str] = set()
    pending = list(only)
    while pending:
        plan = config.row(pending.pop())
        wanted.add(plan.name)
        pending += [n for n in plan.builds_on if n not in wanted]
    plans = [p for p in config.rows if not only or p.name in wanted]
    return sorted(plans, key=lambda p: bool(p.builds_on))  # what others build on comes first


def _run(
    config: StudyConfig, plan: RowPlan, study: StudyData, out: Path, *, resume: bool, progress: StageProgress
) -> Row:
    """One row; where it can't begin (no target, a row it builds on is not done) it stays "not run", with the reason."""
    if plan.kind == "adaptation" and not study.of_role(TARGET):
        return _cannot(out, plan, "needs a set of another laboratory: give --target")
    before = [read_row(out, name) for name in plan.builds_on]
    for earlier in before:
        if not earlier.is_done:
            return _cannot(out, plan, f"builds on row {earlier.name}, which is {earlier.status}")
    digest = _fingerprint(config, plan, study, before)

    def work(folder: Path, resumed: bool) -> dict:
        return _work(config, plan, study, folder, out=out, resume=resumed, progress=progress)

    return run_row(out, plan.name, digest, work, needs=EXTRAS[plan.extra], extra=plan.extra, resume=resume)


def _cannot(out: Path, plan: RowPlan, reason: str) -> Row:
    earlier = read_row(out, plan.name)
    if earlier.is_done:
        return earlier
    return keep_row(Row(plan.name, NOT_RUN, row_folder(out, plan.name), reason=reason))


def _fingerprint(config: StudyConfig, plan: RowPlan, study: StudyData, before: Sequence[Row]) -> str:
    """Digest of what the row's numbers depend on: settings, its own configuration, the sets, the rows it builds on."""
    settings = read_toml(config.folder / plan.config) if plan.config else {}
    words = ("description", "limits", "name")
    settings = {k: v for k, v in settings.items() if k not in words}
    asked = {k: v for k, v in asdict(plan).items() if k not in ("label", "extra")}
    digests = study.digests()
    if plan.kind != "adaptation":
        digests = {k: v for k, v in digests.items() if not k.startswith(TARGET)}
    return fingerprint_of(RESULT_VERSION, config.settings(), asked, settings, digests, [r.fingerprint for r in before])


def _work(
    config: StudyConfig,
    plan: RowPlan,
    study: StudyData,
    folder: Path,
    *,
    out: Path,
    resume: bool,
    progress: StageProgress,
) -> dict:
    """The row's kind decides; torch is imported here first."""
    if plan.kind == "detector":
        from leukoscope.experiments.pcm.detectors import run_detector

        return run_detector(config, plan, study, folder, resume=resume, progress=progress)
    if plan.kind == "classifier":
        from leukoscope.experiments.pcm.classifiers import run_classifier

        return run_classifier(config, plan, study, folder, resume=resume, progress=progress)
    if plan.kind == "two-stage":
        from leukoscope.experiments.pcm.detectors import run_two_stage

        return run_two_stage(config, plan, study, folder, out=out, progress=progress)
    if plan.kind == "adaptation":
        from leukoscope.experiments.pcm.adaptation import run_adaptation

        return run_adaptation(config, plan, study, folder, out=out, progress=progress)
    raise ConfigError(f"row {plan.name!r}: no kind {plan.kind!r}")


def _audit_line(study: StudyData, config: StudyConfig) -> str:
    if not config.audit:
        return "audit: left out (audit = false): nobody looked for duplicates or patients on two sides"
    lines = study.leaks
    dropped = f"; {len(study.dropped)} photographs left training" if study.dropped else ""
    return "audit: " + ("; ".join(lines) if lines else "nothing stands on two sides") + dropped

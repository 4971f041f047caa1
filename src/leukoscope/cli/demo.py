"""`leukoscope demo`: draw patients whose truth is known, analyse them, and print both beside each other."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from leukoscope.cli.options import add_command, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import DataError

if TYPE_CHECKING:
    from leukoscope.demo import Demo, Found

EXAMPLE = """\
example:
  leukoscope demo --out demo

Four rendered patients (drawings, not photographs): ordinary, AML-like, ALL-like, and one with many smudges. They are
named by the bundled model `rendered`, which learnt drawings; your photographs are named by `blood`.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "demo", "draw four patients, analyse them and compare with the truth", EXAMPLE, run)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the smears and the report")
    parser.add_argument("--seed", metavar="S", type=whole, default=7, help="the same seed draws the same patients (7)")


def run(args: argparse.Namespace) -> None:
    """Draw, analyse, print the comparison; DataError where the report is not right."""
    from leukoscope.demo import run_demo

    with progress_bar("drawing") as drawing, progress_bar("analysing") as analysing:
        bars = {"drawing": drawing, "analysing": analysing}
        demo = run_demo(args.out, seed=args.seed, progress=lambda what, done, total: bars[what](done, total))
    print("\n".join(comparison(demo)))
    print(f"report: {demo.report}")
    print(f"to correct and sign in the reading room (extra review): leukoscope review {demo.report.parent}")
    if demo.problems:
        raise DataError(f"the demo's report is not right: {'; '.join(demo.problems)}")


def comparison(demo: Demo) -> list[str]:
    """The lines of the table: what was drawn of each patient, and what was found."""
    head = ("patient", "drawn as", "true blast ratio", "found (95 % interval)", "truth in the interval")
    rows = [head, *(_row(patient) for patient in demo.patients)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    n_drawn, n_called = (sum(n) for n in zip(*((f.known.n_blasts, f.n_called) for f in demo.patients), strict=True))
    share = f", {100 * n_called / n_drawn:.0f} %" if n_drawn else ""
    return ["Rendered patients: drawings, not photographs. They say nothing about accuracy on real smears.", *lines,
            f"drawn blasts that were called blasts: {n_called} of {n_drawn}{share}"]  # fmt: skip


def _row(patient: Found) -> tuple[str, ...]:
    known = patient.known
    truth = f"{100 * known.blast_ratio:.1f} % ({known.n_blasts} of {known.n_counted})"
    printed = f"{100 * patient.value:.1f} % ({100 * patient.low:.1f} to {100 * patient.high:.1f} %)"
    return known.patient_id, known.kind, truth, printed, "yes" if patient.inside else "NO"

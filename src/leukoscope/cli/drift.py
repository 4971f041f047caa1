"""`leukoscope drift`: does a run still look like the runs that its numbers are trusted for?"""

import argparse

from leukoscope.cli.options import add_command
from leukoscope.errors import InputError

DRIFTED = 3  # exit code of a run that has drifted

EXAMPLE = """\
examples:
  leukoscope drift july --reference june
  leukoscope drift april may june july --html drift.html
  leukoscope drift july --reference blood

With --reference every RUN is compared with it: a run that you trust, a file of --keep, or a model's own photographs.
Without it every run is compared with those before it. Exit code 3: the last run has drifted.
Nothing leaves the machine.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    summary = "compare a run's stain, focus, cells and confidence with a reference, and say where it has drifted"
    parser = add_command(commands, "drift", summary, EXAMPLE, run)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders that `analyze` wrote, in the order of time")
    parser.add_argument("--reference", metavar="MODEL|RUN", help="what to compare with: model, run, or file of --keep")
    parser.add_argument("--html", metavar="FILE", help="write a page with charts")
    parser.add_argument("--keep", metavar="FILE", help="write the runs' numbers as a reference, without any id")


def run(args: argparse.Namespace) -> None:
    """Compare, print a line a run, leave with DRIFTED where the last has drifted."""
    from leukoscope.drift import find_reference, measure_runs, write_drift_page, write_profile
    from leukoscope.drift.judge import judge, pooled
    from leukoscope.drift.page import verdict, withheld_rows

    if args.reference is None and len(args.runs) < 2 and args.keep is None:
        raise InputError("one run alone has nothing to be compared with: give --reference, or earlier runs before it")
    profiles = measure_runs(args.runs)
    reference = None if args.reference is None else find_reference(args.reference)
    judged = []
    for number, profile in enumerate(profiles):
        against = reference or (pooled(profiles[:number]) if number else None)
        if against is not None and (reference is not None or number == len(profiles) - 1 or _enough(profiles[:number])):
            judged.append((profile, against, judge(profile, against)))
    for each in judged:
        print(verdict(*each))
    for row in withheld_rows(profiles):
        if row["coverage"] is not None:
            print(
                f"{row['run']}, site {row['center']}: {100 * row['withheld']:.1f} % of {row['n_cells']:,} cells "
                f"withheld, coverage {100 * row['coverage']:.1f} %; {100 * row['failed']:.1f} % of photographs not read"
            )
    if args.html is not None:
        write_drift_page(args.html, judged)
        print(f"page: {args.html}")
    if args.keep is not None:
        write_profile(pooled(profiles), args.keep)
        print(f"kept: {args.keep}")
    if judged and judged[-1][0] is profiles[-1] and any(f.drifted for f in judged[-1][2]):
        raise SystemExit(DRIFTED)


def _enough(profiles: list) -> bool:
    """Whether earlier runs hold patients enough to be a reference."""
    from leukoscope.drift.judge import LEAST_OF_REFERENCE

    return sum(len(p.patients) for p in profiles) >= LEAST_OF_REFERENCE

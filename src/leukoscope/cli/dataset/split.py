"""`leukoscope dataset split`: which photographs are for training, validation and testing."""

import argparse
from pathlib import Path

from leukoscope.cli.options import add_command, add_dataset, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError
from leukoscope.progress import for_stages

EXAMPLE = """\
examples:
  leukoscope dataset split sets/cnmc --by patient --test 0.15 --val 0.2 --seed 0
  leukoscope dataset split sets/pbc --by cluster --out sets/pbc-split
  leukoscope dataset split sets/cnmc --folds 3 --out sets/cnmc-folds
  leukoscope dataset split sets/pcm --leave-one-center-out --out sets/pcm-centers
  leukoscope dataset split sets/pbc --file my_split.csv --out sets/pbc-mine

The test share is of all photographs, the validation share of the rest. split-report.json says how it was done and what
share of each class came where. A file is checked: where it leaks, nothing is written and the exit code is 1.
"""
_SHOWN = 20


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    parser = add_command(actions, "split", "deal a data set to training, validation and test", EXAMPLE, run)
    add_dataset(parser)
    parser.add_argument(
        "--by",
        choices=("patient", "smear", "center", "cluster"),
        default="patient",
        help="what stays on one side (default: patient); cluster: near duplicates, where no patients are stated",
    )
    parser.add_argument("--test", metavar="SHARE", type=float, default=0.15, help="of all (default: 0.15)")
    parser.add_argument("--val", metavar="SHARE", type=float, default=0.2, help="of the rest (default: 0.2)")
    parser.add_argument("--seed", metavar="S", type=whole, default=0, help="fixes the deal (default: 0)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--folds", metavar="K", type=whole, help="K data sets below --out, each testing another part")
    how.add_argument(
        "--leave-one-center-out", action="store_true", help="one data set a centre below --out, testing that centre"
    )
    how.add_argument("--file", metavar="CSV", help="take the splits from a table of file, split, and check them")
    parser.add_argument("--keep-leaks", action="store_true", help="with --file: write a leaking split too, and say so")
    parser.add_argument("--out", metavar="DIR", help="write there (default: into DIR itself, replacing its splits)")


def run(args: argparse.Namespace) -> None:
    """Split, write, and say what came where."""
    from leukoscope.dataset.manifest import read_dataset
    from leukoscope.dataset.splitting import leave_one_center_out, split_dataset, split_folds, write_split

    many = args.folds is not None or args.leave_one_center_out
    if many and not args.out:
        raise InputError("folds and centres are several data sets: say with --out which folder they go below")
    if args.keep_leaks and not args.file:
        raise InputError("--keep-leaks goes with --file: a split made here keeps its groups together")
    dataset = read_dataset(args.dir)
    if args.file:
        _from_file(dataset, args)
        return
    options = {"by": args.by, "val": args.val, "seed": args.seed, "clusters": _clusters(dataset, args.by)}
    if not many:
        made, report = split_dataset(dataset, test=args.test, **options)
        write_split(made, report, args.out or args.dir)
        _print(dataset.name, report, args.out or args.dir)
        return
    parts = (
        split_folds(dataset, args.folds, **options)
        if args.folds is not None
        else leave_one_center_out(dataset, **options)
    )
    for number, (name, made, report) in enumerate(parts, 1):
        # A centre's name may hold what no folder's may.
        folder = name if args.folds is not None else f"{number:02d}-" + "".join(c if c.isalnum() else "-" for c in name)
        write_split(made, report, Path(args.out) / folder)
        _print(name, report, Path(args.out) / folder)


def _clusters(dataset, by: str) -> tuple:
    if by != "cluster":
        return ()
    from leukoscope.dataset.audit import find_duplicates

    with progress_bar("looking for near duplicates") as progress:
        paths = [dataset.path(f) for f in dataset.fields]
        return find_duplicates(paths, progress=for_stages(progress)).clusters


def _from_file(dataset, args: argparse.Namespace) -> None:
    from leukoscope.dataset.split_file import apply_split_file, find_split_problems
    from leukoscope.dataset.splitting import report_of_file, write_split

    made = apply_split_file(dataset, args.file)
    with progress_bar("checking the split") as progress:
        problems = find_split_problems(made, progress=for_stages(progress))
    for line in problems[:_SHOWN]:
        print(f"  {line}")
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN} more (leukoscope dataset audit --html shows them)")
    if problems and not args.keep_leaks:
        print(f"{args.file}: {len(problems)} problems; nothing was written (--keep-leaks writes it all the same)")
        raise SystemExit(1)
    report = report_of_file(dataset, made, problems)
    write_split(made, report, args.out or args.dir)
    _print(dataset.name, report, args.out or args.dir, n_known=len(problems))


def _print(name: str, report, out: str | Path, *, n_known: int = 0) -> None:
    total = sum(report.fields.values())
    said = f", seed {report.seed}" if report.seed is not None else ""
    print(f"{name}: {report.n_groups} groups by {report.by}, {report.method}{said}")
    for split, n in report.fields.items():
        asked = f", asked for {report.asked[split]:.3f}" if split in report.asked else ""
        print(f"  {split}: {n} fields of {report.groups[split]} groups ({n / total:.3f}{asked})")
    width = max((len(c) for c in report.class_shares), default=0)
    for class_name, shares in report.class_shares.items():
        print(f"    {class_name:{width}} " + "  ".join(f"{split} {share:.3f}" for split, share in shares.items()))
    for note in report.notes[: len(report.notes) - n_known]:
        print(f"  note: {note}")
    if n_known:
        print(f"  note: {n_known} known leaks were kept; split-report.json lists them")
    print(f"manifest: {out} (how it was done: split-report.json)")

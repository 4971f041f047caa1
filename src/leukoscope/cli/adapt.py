"""`leukoscope adapt`: fit a model to one's own laboratory. Needs the extra: pip install 'leukoscope[train]'."""

import argparse
import importlib.util

from leukoscope.cli.options import add_command, positive, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
example:
  leukoscope adapt blood --data sets/ours --choose 30 --out to-label.csv
  (30 cells that stand for the others; label those, import them, then)
  leukoscope adapt blood --data sets/ours --out models/ours
  leukoscope analyze photographs/ --model models/ours --out report
  leukoscope adapt blood --from reading-room.db --out models/ours
  (the cells that readers signed in `leukoscope review`; written only if it is better on patients left out)

  leukoscope adapt blood --data photographs/ --unlabelled --out models/ours
  (no label at all: the stain and the camera of 200 cells or more of ordinary patients, a folder each)
  leukoscope adapt blood --locator --data sets/corrected --out models/ours
  (finding the cells: some dozens of fields of a new camera with every white cell boxed; stopped? add --resume)
  leukoscope adapt blood --locator --from reading-room.db --out models/ours
  (the same, from the fields whose cells a reader went through, with boxes added, moved and called no cell)

docs/adaptation.md says which cells to label and what to expect. Needs torch: pip install 'leukoscope[train]'
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "adapt", "fit a model to your laboratory with a few labelled cells", EXAMPLE, run)
    parser.add_argument("model", metavar="MODEL", help="a bundled model's name, or a model folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", metavar="DIR", help="a data set folder of your laboratory's cells; with --unlabelled photographs too"
    )
    source.add_argument("--from", dest="db", metavar="DB", help="the reading room's database: cells that were signed")
    parser.add_argument(
        "--out", metavar="OUT", required=True, help="folder for the adapted model; with --choose a CSV file"
    )
    parser.add_argument(
        "--fraction", type=positive, metavar="F", help="use this share of the labelled cells, measure on the others"
    )
    parser.add_argument(
        "--unlabelled", action="store_true", help="look at no label: fit the model to the stain and the camera alone"
    )
    parser.add_argument("--choose", type=whole, metavar="N", help="adapt nothing: list the N cells to label first")
    parser.add_argument("--locator", action="store_true", help="fit what finds the cells, not what names them")
    parser.add_argument(
        "--replay",
        metavar="DIR",
        nargs="+",
        action="extend",
        help="with --locator: data sets of cameras that it knows, learnt beside; none: rendered fields",
    )
    parser.add_argument("--resume", action="store_true", help="with --locator: go on with a run that was stopped")
    parser.add_argument("--seed", type=whole, default=0, help="of the draws; 0 unless given")


def run(args: argparse.Namespace) -> None:
    """Adapt or choose, then say what came of it."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("adapting needs torch, which is not installed: pip install 'leukoscope[train]'")
    if args.unlabelled and (args.choose is not None or args.fraction is not None):
        raise InputError("--unlabelled looks at no label: leave --choose and --fraction out")
    if args.choose is not None and args.fraction is not None:
        raise InputError("--choose lists cells and --fraction measures: give one of them")
    if args.unlabelled and args.db is not None:
        raise InputError("--from takes the labels that readers signed, --unlabelled takes none: give --data with it")
    if args.locator:
        return _locator(args)
    if args.replay or args.resume:
        raise InputError("--replay and --resume are for fitting a locator: give --locator with them")
    if args.db is not None:
        return _run_from(args)
    if args.unlabelled:
        return _profile(args)
    from leukoscope.train.adapt.site import adapt_model, suggest_cells, write_suggestions

    with progress_bar("photographs") as progress:
        if args.choose is not None:
            rows = suggest_cells(args.model, args.data, args.choose, seed=args.seed, progress=progress)
            write_suggestions(rows, args.out)
            print(f"{len(rows)} cells to label: {args.out}")
            return
        adapted = adapt_model(
            args.model, args.data, args.out, fraction=args.fraction, seed=args.seed, progress=progress
        )
    counts = ", ".join(f"{n} {name}" for name, n in adapted["labelled"].items())
    print(f"labelled cells used: {adapted['n_labelled']} ({counts})")
    if adapted["profiled"]:
        print("features were first brought to those of the training cells, without labels (see --unlabelled)")
    if adapted["class_means"]:
        print("cells without a label took part: each class's mean is that of its labelled and of its likely cells")
    elif adapted["pull"] is None:
        print("no new last layer was better than the old one by cross-validation: it stays as it was")
    _say_accuracy("cross-validation", adapted["cross_validated"], adapted["n_labelled"])
    if adapted["held_out"]:
        _say_accuracy("cells not used", adapted["held_out"], adapted["held_out"]["n"])
    print(f"adapted model: {args.out}")


def _run_from(args: argparse.Namespace) -> None:
    """Adapt to the reading room's signed cells, or choose the next ones."""
    _need_room()
    if args.fraction is not None:
        raise InputError("--from holds out by patient: it takes no --fraction")
    from leukoscope.train.adapt.site import write_suggestions
    from leukoscope.web.adapting import adapt_from, next_cells

    with progress_bar("folds" if args.choose is None else "photographs") as progress:
        if args.choose is not None:
            rows = next_cells(args.model, args.db, args.choose, seed=args.seed, progress=progress)
            write_suggestions(rows, args.out)
            print(f"{len(rows)} cells to review next: {args.out}")
            return
        adapted = adapt_from(args.model, args.db, args.out, seed=args.seed, progress=progress)
    print(f"reviewed cells: {adapted.n_cells} of {adapted.n_groups} {adapted.unit}s, each {adapted.unit} left out once")
    for name, values in (("before", adapted.before), ("after", adapted.after), ("gain", adapted.gain)):
        value, low, high = values
        print(f"accuracy, {name}: {value:.3f} (95 % limits {low:.3f} to {high:.3f})")
    print(f"adapted model: {args.out}")


def _need_room() -> None:
    if importlib.util.find_spec("sqlalchemy") is None:
        raise InputError("the reading room is not installed: pip install 'leukoscope[review]'")


def _locator(args: argparse.Namespace) -> None:
    """Fit the locator to corrected fields, then say what it finds on those held out and at home."""
    if args.unlabelled or args.choose is not None or args.fraction is not None:
        raise InputError("--locator takes --data or --from, --replay, --resume and --seed: leave the other options out")
    with progress_bar("training") as progress:
        how = {"replay": args.replay or (), "resume": args.resume, "seed": args.seed, "progress": progress}
        if args.db is not None:
            _need_room()
            from leukoscope.web.adapting import adapt_locator_from

            adapted = adapt_locator_from(args.model, args.db, args.out, **how)
        else:
            from leukoscope.train.adapt.locator_site import adapt_locator

            adapted = adapt_locator(args.model, args.data, args.out, **how)
    for line in adapted.lines():
        print(line)
    print(f"adapted model: {args.out}")


def _say_accuracy(kind: str, values: dict, n: int) -> None:
    """What so few cells can promise is a range."""
    from leukoscope.intervals import clopper_pearson

    low, high = clopper_pearson(round(values["after"] * n), n)
    print(
        f"accuracy, {kind}: {values['before']:.3f} before, {values['after']:.3f} after; {n} cells say no more than "
        f"{low:.2f} to {high:.2f}"
    )


def _profile(args: argparse.Namespace) -> None:
    """A profile without labels, and what it rests on."""
    from leukoscope.train.adapt.profile_site import profile_model

    with progress_bar("photographs") as progress:
        profiled = profile_model(args.model, args.data, args.out, progress=progress)
    whose = f" of {profiled['n_patients']} patients" if profiled["n_patients"] else "; whose they are is not known"
    print(f"cells looked at: {profiled['n_cells']}{whose}")
    top = sorted(profiled["mix"].items(), key=lambda item: -item[1])[:5]
    print("estimated mix: " + ", ".join(f"{share:.0%} {name}" for name, share in top))
    print(f"features lie {profiled['shift']:.2f} deviations from those of the training cells (0 is home)")
    print("nothing was measured: count some slides by hand and compare before you rely on it")
    print(f"profiled model: {args.out}")

"""`leukoscope dataset deidentify`: a data set without names, to hand on."""

import argparse

from leukoscope.cli.options import add_command, add_dataset, add_key
from leukoscope.cli.progress import progress_bar

EXAMPLE = """\
examples:
  leukoscope dataset deidentify sets/ward --out sets/for-colleagues
  leukoscope dataset deidentify sets/ward --out sets/for-colleagues --key ../keys/ward.json

Patients, smears, centres and pictures get pseudonyms; pictures hold their pixels and nothing else. Classes, boxes,
outlines, splits and scales stay. `dataset export` and `dataset crops` have --deidentify for one step.
"""


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    action = add_command(actions, "deidentify", "write a data set without names, pictures included", EXAMPLE, run)
    add_dataset(action)
    action.add_argument("--out", metavar="NEW", required=True, help="new folder for the manifest and the pictures")
    add_key(action)


def run(args: argparse.Namespace) -> None:
    """Write, then say what was left out."""
    from leukoscope.dataset.deidentify import deidentify_dataset
    from leukoscope.pseudonyms import open_key

    names = open_key(args.key, out=args.out)
    with progress_bar("pictures") as progress:
        made, dropped = deidentify_dataset(args.dir, args.out, names, progress=progress)
    n_patients = len({f.key.patient_id for f in made.fields})
    if args.key is not None:
        names.save(args.key)
    print(f"{len(made.fields)} pictures of {n_patients} patients, without names: {args.out}")
    if dropped:
        print(f"  attributes left out, for they may say anything: {', '.join(dropped)}")
    print("who is who: " + (args.key or "nobody can tell; --key FILE would have kept it"))

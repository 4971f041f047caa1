"""`leukoscope dataset audit`: what makes a result on this set flatter than it is."""

import argparse

from leukoscope.cli.options import add_command, add_dataset
from leukoscope.cli.progress import progress_bar
from leukoscope.progress import for_stages

EXAMPLE = """\
examples:
  leukoscope dataset audit sets/pbc --html audit.html
  leukoscope dataset audit sets/mine --against sets/pbc --json

Finds pictures that show the same (the same file; turned, saved again, rescaled, brighter, cropped), patients and smears
on both sides of a split, and cells under two labels. Exit code: 0 when clean, 1 when something leaks across splits or
data sets, a cell has two labels, or a picture could not be checked; 2 when there is nothing to audit.
"""
_SHOWN = 20


def add_to(actions: argparse._SubParsersAction) -> None:
    """Declare the action."""
    parser = add_command(actions, "audit", "find duplicates, and patients on both sides of a split", EXAMPLE, run)
    add_dataset(parser)
    parser.add_argument("--against", metavar="DIR", help="also look for what stands in this other data set")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write a contact sheet of the pairs")


def run(args: argparse.Namespace) -> None:
    """Audit, print, and leave with exit code 1 where the set is not clean."""
    import json
    from pathlib import Path

    from leukoscope.dataset.audit import audit_dataset, to_dict
    from leukoscope.dataset.manifest import read_dataset
    from leukoscope.errors import InputError

    if args.against and Path(args.against).resolve() == Path(args.dir).resolve():
        raise InputError(f"--against {args.against} is the audited set itself: name another, or leave the option out")
    dataset = read_dataset(args.dir)
    against = read_dataset(args.against) if args.against else None
    with progress_bar("auditing") as progress:
        audit = audit_dataset(dataset, against, progress=for_stages(progress))
    if args.html:
        from leukoscope.checks.audit_html import write_audit_page

        with progress_bar("contact sheet") as progress:
            write_audit_page(audit, args.html, progress=progress)
    if args.json:
        print(json.dumps(to_dict(audit), indent=1, ensure_ascii=False))
    else:
        _print(audit, args.html)
    if not audit.is_clean:
        raise SystemExit(1)


def _print(audit, html: str | None) -> None:
    from leukoscope.checks.audit_html import side_words
    from leukoscope.dataset.audit import describe

    names = " against ".join(d.name for d in audit.datasets)
    inside = len(audit.pairs) - len(audit.leaks)
    print(f"{names}: {len(audit.fields)} photographs, {'clean' if audit.is_clean else 'NOT clean'}")
    print(f"  {len(audit.leaks)} pairs across splits or data sets, {inside} inside one; {len(audit.clusters)} clusters")
    for pair in audit.leaks[:_SHOWN]:
        words = describe(pair, audit.fields[pair.first], audit.fields[pair.second])
        print(f"    {audit.place(pair.first)} = {audit.place(pair.second)} ({words})")
    _more(len(audit.leaks))
    if any(f.key.patient_id for f in audit.fields):
        print(f"  {sum(s.kind == 'patient' for s in audit.straddlers)} patients on two sides")
    else:
        print("  patients: none stated, so nobody can say that none is on two sides")
    for straddler in audit.straddlers[:_SHOWN]:
        who = " ".join(w for w in (straddler.center, straddler.patient_id, straddler.smear_id) if w)
        print(f"    {straddler.kind} {who}: " + ", ".join(f"{side_words(audit, s)} {n}" for s, n in straddler.sides))
    _more(len(audit.straddlers))
    print(f"  {len(audit.two_labels)} cells under two labels")
    for pair in audit.two_labels[:_SHOWN]:
        places = f"{audit.place(pair.first)} {pair.first_class}, {audit.place(pair.second)} {pair.second_class}"
        print(f"    {places}")
    _more(len(audit.two_labels))
    for row, why in list(sorted(audit.unreadable.items()))[:_SHOWN]:
        print(f"  could not be read: {audit.place(row)}: {why}")
    _more(len(audit.unreadable))
    for row in audit.changed[:_SHOWN]:
        print(f"  not the file that was imported: {audit.place(row)}")
    _more(len(audit.changed))
    for alike in audit.spelled_alike[:_SHOWN]:
        where = ", ".join(dict.fromkeys(side_words(audit, s) for s in alike.sides))
        names = " and ".join(map(repr, alike.patient_ids))
        print(f"  note: patients {names} may be one, spelled twice ({where}): correct the ids, then split again")
    _more(len(audit.spelled_alike))
    if audit.drawn_twice:
        row, one, _ = audit.drawn_twice[0]
        print(
            f"  note: {len(audit.drawn_twice)} pairs of boxes are nearly the same, perhaps one cell drawn twice; "
            f"the first in {audit.place(row)}, {one.class_name or 'untyped'} at {list(one.box)} (--json has all)"
        )
    if audit.one_source:
        one_source = ", ".join(f"{name} ({source})" for name, source in audit.one_source.items())
        print(
            f"  note: one source alone shows {one_source}: a network may learn the source in place of the class; bring "
            "such cells from a second source, or at least other classes from the same one"
        )
    if audit.blank:
        print(f"  note: {len(audit.blank)} pictures have nothing to be recognised by; only same files were looked for")
    if html:
        print(f"contact sheet: {html}")


def _more(n: int) -> None:
    if n > _SHOWN:
        print(f"    and {n - _SHOWN} more (--json, --html)")

"""`leukoscope review`: the reading room in a browser. Needs the extra: pip install 'leukoscope[review]'."""

import argparse
import importlib.util

from leukoscope.cli.options import add_command, whole
from leukoscope.cli.progress import progress_bar
from leukoscope.errors import InputError

EXAMPLE = """\
examples:
  leukoscope analyze photographs/ --out report
  leukoscope review report
  (prints an address to open in a browser; readings are kept in reading-room.db)
  leukoscope review report --db postgresql://lab@host/readings
  leukoscope review --db reading-room.db --export cvat --out reviewed-cvat

docs/reading-room.md has the pages, the keys, accounts and the API.
Research use only. Not for diagnosis. A morphologist must review.
"""
NEEDED = ("alembic", "argon2", "fastapi", "jinja2", "multipart", "openpyxl", "reportlab", "sqlalchemy", "uvicorn")
FORMATS = ("manifest", "cvat", "coco", "yolo")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = add_command(commands, "review", "review, correct and sign in a browser", EXAMPLE, run)
    parser.add_argument(
        "runs", metavar="DIR|RECORD", nargs="*", help="folders that `analyze` wrote, or their record.json"
    )
    parser.add_argument(
        "--db", default="reading-room.db", help="a file, or postgresql://... (default: reading-room.db)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=whole, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument("--photographs", metavar="DIR", help="folder that photographs were moved to")
    parser.add_argument("--settings", metavar="TOML", help="keys, rules for signing and costs to take over")
    parser.add_argument(
        "--reader", metavar="NAME", default="local reader", help="who reads where there are no accounts"
    )
    parser.add_argument("--origin", metavar="URL", action="append", default=[], help="the address that people use, such"
                        " as https://lab.example (behind a proxy); may be given several times")  # fmt: skip
    parser.add_argument("--tls-cert", metavar="PEM", help="certificate, with --tls-key, to serve HTTPS")
    parser.add_argument("--tls-key", metavar="PEM", help="its private key")
    parser.add_argument("--add-reader", metavar="NAME", help="make an account (asks for its password), then end")
    parser.add_argument("--role", choices=("reader", "senior", "admin"), default="reader", help="of --add-reader")
    parser.add_argument("--export", choices=FORMATS, help="write the reviewed cells of signed patients, then end")
    parser.add_argument("--out", metavar="DIR", help="folder for --export")


def run(args: argparse.Namespace) -> None:
    """Open the database and the runs, then serve until stopped."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError("the reading room is not installed: pip install 'leukoscope[review]'")
    from leukoscope.web.serve import Place, add_account, export, open_room, serve

    if args.export is not None:
        if args.out is None:
            raise InputError("--export needs --out, the folder to write into")
        exported = export(args.db, args.export, args.out)
        left = f"; {exported['n_missing']} photographs were not at hand" if exported["n_missing"] else ""
        print(
            f"{exported['n_typed']} typed of {exported['n_cells']} cells on {exported['n_fields']} photographs: "
            f"{args.out}{left}"
        )
        return
    if args.add_reader is not None:
        add_account(args.db, args.add_reader, role=args.role)
        print(f"account added: {args.add_reader} ({args.role})")
        return
    place = Place(args.host, args.port, tuple(args.origin), args.tls_cert, args.tls_key)
    with progress_bar("cells") as progress:
        room = open_room(
            args.db, args.runs, place, reader=args.reader, photographs=args.photographs, settings=args.settings,
            progress=progress,
        )  # fmt: skip
    for line in room.said:
        print(line)
    serve(room, place, say=print)

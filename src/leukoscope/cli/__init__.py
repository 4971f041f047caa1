"""The command line: each command is one file that parses, calls one library function and prints.

Nothing heavy is imported here or at the top of a command's file: `leukoscope --help` must start at once.
"""

import argparse
import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

from leukoscope import __version__
from leukoscope.cli import (
    adapt,
    analyze,
    dataset,
    demo,
    doctor,
    drift,
    evaluate,
    export,
    models,
    review,
    simulate,
    study,
    train,
)
from leukoscope.errors import LeukoscopeError, without_long_values

COMMANDS = (demo, analyze, review, export, drift, models, dataset, train, adapt, evaluate, simulate, study, doctor)

MEMORY_FULL = "the memory is full: end other programs, or let fewer workers run at a time (--workers 1)"
# How the system says so where Python raises no MemoryError: a thread, or a library, for which there was no room.
NO_MEMORY = ("can't start new thread", "cannot allocate memory", "failed to map segment", "bad_alloc", "out of memory")

EXAMPLE = """\
example:
  leukoscope analyze photographs/ --out report
  (writes report/report.html, report/record.json and report/cells.csv)

Research use only. Not for diagnosis. A morphologist must review.
"""


class OneLineParser(argparse.ArgumentParser):
    """argparse prints the whole usage before an error; ours is one line that says where the usage is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"leukoscope: {' '.join(message.split())} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed arguments."""
    parser = OneLineParser(
        prog="leukoscope",
        description="Smear photographs in, a patient report out: white cells located, classified and counted.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"leukoscope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 2 an error said on one line, 130 stopped by Ctrl-C."""
    _occupy_standard_handles()
    for stream in (sys.stdout, sys.stderr):  # None where it was closed before the start
        if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except LeukoscopeError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail(MEMORY_FULL)
    except (RuntimeError, ImportError) as error:
        if not any(words in str(error).lower() for words in NO_MEMORY):
            raise
        return _fail(MEMORY_FULL)
    except KeyboardInterrupt:
        hint = "; the same command with --resume goes on from here" if hasattr(args, "resume") else ""
        print(f"leukoscope: stopped{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has enough. Python flushes stdout once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_os_error_words(error, can_resume=hasattr(args, "resume")))
    return 0


def _occupy_standard_handles() -> None:
    """Where standard input, output or error was closed, the next file opened would get its number, and a C library that
    writes a warning to standard error would write it into that file."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the system gives the lowest number that is free


def _fail(message: str) -> int:
    from leukoscope.exchange.text import printable  # a file's name must not command the terminal

    with suppress(OSError):  # nowhere to say it: the exit code still does
        print(f"leukoscope: {printable(without_long_values(' '.join(message.split())))}", file=sys.stderr)
    return 2


def _os_error_words(error: OSError, *, can_resume: bool) -> str:
    where = f" {error.filename}" if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        again = "go on with the same command and --resume" if can_resume else "run the same command again"
        return f"the disk is full: can't write{where}; free some space, then {again}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for{where or ' a file'} ({error.strerror}); choose a folder that you may read and write"
    return f"{error.strerror or error}{':' if where else ''}{where}"

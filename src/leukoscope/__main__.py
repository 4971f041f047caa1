"""`python -m leukoscope` is the `leukoscope` command."""

from leukoscope.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""What the command line is held to: an error is one line."""

from __future__ import annotations


def one_line_error(result, *words):
    """Exit code 2, one line on stderr that begins with the program's name and holds each of `words`."""
    code, _, err = result
    assert code == 2, err
    assert err.startswith("leukoscope: ") and err.endswith("\n") and err.count("\n") == 1, err
    for word in words:
        assert str(word) in err, err

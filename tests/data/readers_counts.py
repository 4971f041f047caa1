"""Tables of readers' counts, as files and as they are read."""

from __future__ import annotations

import numpy as np

from leukoscope.evaluate.counts import CountTable

HEADS = ("patient_id", "neutrophil", "lymphocyte", "monocyte", "blast")


def table(name, rows, classes=HEADS[1:]):
    patients = tuple(f"p{i}" for i in range(len(rows)))
    return CountTable(name, patients, tuple(classes), np.array(rows, np.int64))


def write(path, rows, *, heads=HEADS, delimiter=",", encoding="utf-8", first=""):
    text = first + "\r\n".join(delimiter.join(map(str, row)) for row in [heads, *rows]) + "\r\n"
    path.write_bytes(text.encode(encoding))
    return path


ROWS = [("a", 60, 30, 5, 5), ("b", 55, 35, 10, 0), ("c", 20, 10, 10, 60), ("d", 70, 20, 6, 4)]

"""Annotation files beside a drawn picture of 40 x 30 px, and what a reader says of them."""

from __future__ import annotations

import json

import numpy as np
from data.make_pictures import draw_field

SIZE = (40, 30)


def picture(path, seed=0):
    draw_field(path, SIZE, [(10, 10, 5)], seed=seed)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")


def issues(raw, action="noted"):
    return [i.reason for i in raw.issues if i.action == action]


def one_cell(reader, root):
    (field,) = reader(root).fields
    (cell,) = field.cells
    return cell


MASK = np.zeros((30, 40), bool)


MASK[4:9, 6:13] = True


MASK[9, 8] = True


def counts(mask):
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, len(flat)]).tolist()
    return runs if not flat[0] else [0, *runs]

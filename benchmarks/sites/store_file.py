"""Cells for training as one file, so that another machine can train on them without the photographs."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.errors import UNREADABLE, DataError, in_short
from leukoscope.files import save_arrays
from leukoscope.train.classifier.data import _ROWS, WINDOW_RULE, CellStore, cell_mask

WEBP_QUALITY = 82
STORE_VERSION = 1


def write_store(store: CellStore, path: str | Path) -> None:
    """One file: windows and backgrounds as WebP (lossy, a twentieth of their size), the rest as it is."""
    columns = {f.name: getattr(store, f.name) for f in fields(store) if f.name != "masks"}
    packed = {name: _packed(columns.pop(name)) for name in ("windows", "backgrounds")}
    files = {f"{name}_{part}": value for name, parts in packed.items() for part, value in parts.items()}
    save_arrays(path, version=np.asarray(STORE_VERSION), **files, **columns)


def read_store(path: str | Path) -> CellStore:
    """What `write_store` wrote. DataError where the file is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["version"]) != STORE_VERSION:
                raise DataError(f"{path} is a store of version {int(file['version'])}; this reads {STORE_VERSION}")
            columns = {n: file[n] for n in (*_ROWS, "ground_sets") if n not in ("windows", "masks")}
            pictures = {n: _unpacked(file[f"{n}_bytes"], file[f"{n}_ends"]) for n in ("windows", "backgrounds")}
    except (OSError, *UNREADABLE) as error:
        raise DataError(f"{path} is not a store of cells: {in_short(error)}; write it again") from None
    cells = zip(pictures["windows"], columns["box_shapes"], columns["masked"], strict=True)
    masks = np.stack([cell_mask(window, shape, masked=bool(masked)) for window, shape, masked in cells])
    return CellStore(masks=masks, **columns, **pictures)


def _packed(pictures: np.ndarray) -> dict[str, np.ndarray]:
    def encode(picture: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
        return buffer.getvalue()

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(encode, pictures))
    ends = np.cumsum([len(p) for p in parts]).astype(np.int64)
    return {"bytes": np.frombuffer(b"".join(parts), np.uint8), "ends": ends}


def _unpacked(content: np.ndarray, ends: np.ndarray) -> np.ndarray:
    side, data = WINDOW_RULE.size, content.tobytes()
    out = np.empty((len(ends), side, side, 3), np.uint8)

    def decode(i: int) -> None:
        start = int(ends[i - 1]) if i else 0
        out[i] = np.asarray(Image.open(io.BytesIO(data[start : int(ends[i])])).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(ends))))
    return out

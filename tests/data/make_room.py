"""A drawn run as `analyze` leaves it, and a reading room that serves it from a thread."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from data import make_record
from PIL import Image


def make_run(folder: Path, **sizes: int) -> Path:
    """A run's folder: record, photographs, and thumbnails where `analyze` puts them."""
    paths = make_record.make_run(folder, **sizes)
    work = folder / ".work"
    work.mkdir(exist_ok=True)
    shutil.move(paths["thumbs"], work / "thumbs.jsonl")
    return folder


def with_features(run: Path, *, length: int = 8, seed: int = 3) -> np.ndarray:
    """Write features into a run's thumbnails, as `analyze` does with a classifier that gives them; (N, length) float16.

    The fifth cell's are twice the first one's: the same direction, as alike as can be.
    """
    path = run / ".work" / "thumbs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    vectors = np.random.default_rng(seed).normal(size=(len(lines), length)).astype(np.float16)
    vectors[4] = 2 * vectors[0]
    for line, vector in zip(lines, vectors, strict=True):
        line["features"] = base64.b64encode(vector.tobytes()).decode()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return vectors


def make_slide_run(folder: Path, **sizes: int) -> Path:
    """The same with every photograph laid into one slide, two regions a row; in each region but the first the first
    cell is one that the region before counts."""
    from data.make_slide import make_slide

    from leukoscope.images.slides import slide_sha256

    file = make_run(folder, n_patients=1, **sizes) / "record.json"
    record = json.loads(file.read_text("utf-8"))
    shown = [(number, f) for number, f in enumerate(record["fields"]) if f["status"] != "failed"]
    wide, high = shown[0][1]["width"], shown[0][1]["height"]
    whole = np.full((-(-len(shown) // 2) * high, 2 * wide, 3), 245, np.uint8)
    places = [(wide * (n % 2), high * (n // 2)) for n in range(len(shown))]
    for (x, y), (_, field) in zip(places, shown, strict=True):
        with Image.open(folder / field["file"]) as picture:
            whole[y : y + high, x : x + wide] = np.asarray(picture.convert("RGB"))
    slide = make_slide(folder / "slide.tif", whole, steps=(4,))
    digest = slide_sha256(slide)
    for n, ((x, y), (number, field)) in enumerate(zip(places, shown, strict=True)):
        box = [x, y, x + wide, y + high]
        field |= {"file": str(slide), "sha256": digest, "region": {"box": box, "core": box, "plane": 0}}
        if n:
            field["cells"][0]["same_as"] = {"field": number - 1, "cell": 0, "border": True}
    record["patients"][0]["n_cells"] -= len(shown) - 1
    file.write_text(json.dumps(record), "utf-8")
    return folder


@contextmanager
def served(
    store, *, accounts: bool = False, default_reader: int | None = None, counts: dict[int, int] | None = None
) -> Iterator[str]:
    """The address of a running server over an open store, on a free port of this machine.

    counts  status -> answers with it, counted while it runs
    """
    import uvicorn

    from leukoscope.web.app import create_app
    from leukoscope.web.guard import Site

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(store, Site(frozenset((origin,)), accounts, False), default_reader=default_reader)
    served_app = app if counts is None else _counting(app, counts)
    server = uvicorn.Server(uvicorn.Config(served_app, log_level="critical", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield origin
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _counting(app, counts: dict[int, int]):
    """The app, with each answer's status counted; what the app raises counts as 500."""

    async def counted(scope, receive, send):
        async def count(message):
            if message["type"] == "http.response.start":
                counts[message["status"]] = counts.get(message["status"], 0) + 1
            await send(message)

        await app(scope, receive, count)

    return counted

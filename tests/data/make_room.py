"""A drawn run as `analyze` leaves it, and a reading room that serves it from a thread."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data import make_record


def make_run(folder: Path, **sizes: int) -> Path:
    """A run's folder: record, photographs, and thumbnails where `analyze` puts them."""
    paths = make_record.make_run(folder, **sizes)
    work = folder / ".work"
    work.mkdir(exist_ok=True)
    shutil.move(paths["thumbs"], work / "thumbs.jsonl")
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

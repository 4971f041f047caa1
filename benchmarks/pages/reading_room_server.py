"""A reading room in a process of its own, pages in Chromium on it, and what the two cost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from benchmarks.provenance import ROOT

CHROMIUM = next((p for p in map(shutil.which, ("/usr/bin/chromium", "chromium", "google-chrome")) if p), None)
SERVER = """
import sys
sys.path.insert(0, {tests!r})
from data import make_room
from leukoscope.web.store import open_store
store = open_store({db!r})
with make_room.served(store, accounts={accounts}, default_reader={reader}) as origin:
    print(origin, flush=True)
    sys.stdin.read()
"""
CPU_OF: dict[str, int] = {}  # address -> the server's process
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


@contextmanager
def server(db: str, *, with_accounts: bool = False, reader: int | None = None):
    """The address of a server in a process of its own."""
    code = SERVER.format(tests=str(ROOT / "tests"), db=db, accounts=with_accounts, reader=reader)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        origin = process.stdout.readline().strip()
        CPU_OF[origin] = process.pid
        yield origin
    finally:
        process.stdin.close()
        process.wait(20)


@contextmanager
def page_of(origin: str):
    """A page of headless Chromium at 1440 px."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(origin + "/")
        yield page
        browser.close()


def cpu_ms(origin: str) -> float:
    """Processor time that a server has used: it does not grow while others have the processor."""
    fields = Path(f"/proc/{CPU_OF[origin]}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PEER = "a static file"


def page_times(origin: str, patients: list[tuple[str, str]], repeats: int) -> dict[str, tuple[list[float], float]]:
    """Server time of each kind of page, another patient each time, and the processor time of all of them."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    text = opener.open(origin + "/").read().decode()
    token = text.split('data-token="')[1].split('"')[0]
    rng = random.Random(0)
    found: dict[str, tuple[list[float], float]] = {}

    def timed(name: str, path: str, body: bytes | None = None) -> str:
        request = urllib.request.Request(origin + path, body, {"origin": origin} if body else {})
        before = cpu_ms(origin)
        with opener.open(request) as answer:
            answer.read()
            times, spent = found.get(name, ([], 0.0))
            times.append(float(answer.headers["server-timing"].split("dur=")[1]))
            found[name] = (times, spent + cpu_ms(origin) - before)
            return answer.geturl()

    new, signed = ([key for key, state in patients if (state == "signed") == wanted] for wanted in (False, True))
    for _ in range(repeats):
        page, done = rng.randrange(1, max(2, len(patients) // 100)), rng.choice(signed)
        url = timed("cells, opened first", f"/p/{rng.choice(new)}")
        reading = url.removeprefix(origin)
        search = f"form_token={token}&state=all&search={rng.randrange(100)}".encode()
        pages = {
            PEER: ("/static/icon.svg", None),
            "worklist": ("/", None),
            "worklist by blasts": (f"/?state=all&sort=blasts&page={page}", None),
            "worklist by change": (f"/?state=all&sort=changed&page={page}", None),
            "search": ("/", search),
            "cells": (reading, None),
            "field": (reading + "/f/1", None),
            "sign": (reading + "/sign", None),
            "signed record": (f"/p/{done}/signed/1", None),
            "audit trail": (f"/p/{done}/audit", None),
            "learn": ("/learn", None),
            "admin": ("/admin", None),
            "contact sheet, made anew": (reading + "/sheet/0.jpg", None),
        }
        for name, (path, body) in pages.items():
            timed(name, path, body)
    return found

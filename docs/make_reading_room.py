"""Draw docs/reading-room-wide.jpg and -phone.jpg: every page of the reading room over a rendered run.

    python docs/make_reading_room.py demo/report docs

The run must be rendered (`leukoscope demo`): no picture of a real cell goes into the documentation.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PAGES = (
    *("worklist", "cells", "a note and the chosen cell", "field", "sign", "comparison"),
    *("signed", "audit trail", "worklist with reading times", "learn", "admin", "keys"),
)
SIZES = {"wide": (1440, 900, 3, 640, "light"), "phone": (390, 844, 6, 260, "dark")}


def main() -> None:
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    record = json.loads((run / "record.json").read_text("utf-8"))
    if not all("rendered" in p["patient_id"] for p in record["patients"]):
        raise SystemExit(f"{run} is not a rendered run: use `leukoscope demo`")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    for name, (width, height, across, shown, scheme) in SIZES.items():
        with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
            command = [sys.executable, "-m", "leukoscope", "review", str(run.resolve()), "--port", "0"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=work)
            origin = next(m.group(1) for line in server.stdout if (m := re.search(r"(http://[^/]+)/", line)))
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            pictures = walk(page, origin)
            browser.close()
            server.terminate()
            server.wait()
        sheet(pictures, across, shown, height * shown // width).save(out / f"reading-room-{name}.jpg", quality=80)


def walk(page: Page, origin: str) -> list[Image.Image]:
    """A picture of each of PAGES, on the way of two readers through one patient."""
    shots = []

    def shot() -> None:
        page.wait_for_timeout(700)
        shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))

    page.goto(origin + "/")
    shot()
    patient = page.locator("a.open").first.get_attribute("href")
    page.goto(origin + patient)
    page.wait_for_selector(".tile")
    for key in ("ArrowRight", "ArrowRight", "l", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    shot()
    note(page, "Platelets in clumps at the edge.")
    page.evaluate("scrollTo(0, 0)")
    if page.locator("#look").is_visible():
        page.locator("#look").click()
    page.locator("#cellfacts h3").first.wait_for()
    shot()
    if page.locator("#closecell").is_visible():
        page.locator("#closecell").click()
    page.keyboard.press("Escape")
    reading = page.url.split("#")[0]
    page.goto(reading + "/f/1")
    page.wait_for_selector("#viewer canvas")
    page.keyboard.press(".")
    shot()
    page.goto(reading + "/sign")
    shot()
    page.get_by_role("button", name="Done, for comparison").click()
    page.locator(".whois summary").click()
    page.locator(".whois input[name=name]").fill("second reader")
    page.get_by_role("button", name="Change").click()
    page.goto(origin + patient)
    page.get_by_role("button", name="Read blind").click()
    page.wait_for_selector(".tile")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "m"):
        page.keyboard.press(key)
    page.wait_for_timeout(800)
    page.goto(origin + patient + "/compare")
    page.get_by_role("button", name="My reading is done").click()
    shot()
    page.get_by_role("button", name="Decide").click()
    page.wait_for_selector(".tile")
    page.locator("#gallery > section:has(#h-differ) .tile").first.click()
    while page.locator("#gallery > section:has(#h-differ) .tile").count():
        page.keyboard.press("l")
        page.wait_for_timeout(200)
    blasts = page.locator("#gallery > section:has([id$=blast]) .tile:not(.read)")
    while blasts.count():
        blasts.first.click()
        page.keyboard.press("Shift+Space")
        page.wait_for_timeout(800)
    page.goto(page.url.split("#")[0] + "/sign")
    page.get_by_role("button", name="Sign this reading").click()
    page.wait_for_selector("text=Handed over")
    shot()
    for path in (patient + "/audit", "/?state=all", "/learn", "/admin", "/help"):
        page.goto(origin + path)
        if path == "/?state=all":
            page.locator("#times-h").scroll_into_view_if_needed()
        shot()
    return shots


def note(page: Page, text: str) -> None:
    """Note something on the patient; at a phone's width the notes are behind their heading."""
    box = page.locator("form[data-about=patient] textarea")
    if not box.is_visible():
        page.locator("summary", has_text="Notes").click()
    box.fill(text)
    page.get_by_role("button", name="Note it").first.click()
    page.wait_for_selector("#notes li")


def sheet(pictures: list[Image.Image], across: int, wide: int, high: int) -> Image.Image:
    """All pictures on one, in reading order, 8 px apart."""
    rows = -(-len(pictures) // across)
    out = Image.new("RGB", (across * (wide + 8) - 8, rows * (high + 8) - 8), (128, 128, 128))
    for number, picture in enumerate(pictures):
        down, right = divmod(number, across)
        small = picture.resize((wide, high), Image.Resampling.LANCZOS)
        out.paste(small, (right * (wide + 8), down * (high + 8)))
    return out


if __name__ == "__main__":
    main()

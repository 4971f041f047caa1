"""Picture a report's first patient: `make screenshot` makes docs/report.png from the demo's report.

Usage: make_screenshot.py REPORT.html OUT.png   (needs playwright and an installed Chromium or Chrome)
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH_PX, HEIGHT_PX = 1200, 1500


def screenshot(report: Path, out: Path) -> None:
    """Open the report without a network and write what its first patient shows, in 256 colours to stay small."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next((path for path in map(shutil.which, names) if path), None)
    if browser_path is None:
        raise SystemExit(f"make_screenshot: no browser found: install one of {', '.join(names)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.goto(report.resolve().as_uri())
        page.evaluate("document.querySelector('.patient').scrollIntoView()")
        page.screenshot(path=str(out))
        browser.close()
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: make_screenshot.py REPORT.html OUT.png")
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]))

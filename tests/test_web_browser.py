"""The reading room in a real browser, the whole path by keyboard: correct, add, second reader, adjudicate, sign."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from data import make_room

sync_api = pytest.importorskip("playwright.sync_api", reason="no browser was found: playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed: pip install '.[test]'")
pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from openpyxl import load_workbook  # noqa: E402

from leukoscope.web.store import open_store  # noqa: E402
from leukoscope.web.store.accounts import reader_named  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402

sync_api.expect.set_options(timeout=60_000)  # a busy machine is no failure
WIDTHS = {1440: 900, 390: 844}
WIDE = """[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
.slice(0, 4).map((e) => e.outerHTML.slice(0, 90))"""
# WCAG A and AA, and what axe itself holds to be good practice.
AXE = "(async () => (await axe.run()).violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.target)))()"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_room.make_run(tmp_path_factory.mktemp("run"), n_patients=2, n_fields=10, n_cells=9)
    make_room.with_features(folder)
    return folder


@pytest.fixture
def origin(tmp_path, run):
    store = open_store(tmp_path / "readings.db")
    open_run(store, run)
    with make_room.served(store, default_reader=reader_named(store, "Anna")) as origin:
        yield origin
    store.close()


class Reader:
    """One person at a page: what goes to the console or is refused is kept as trouble."""

    def __init__(self, browser, origin: str, width: int, trouble: list[str], **more) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        self.page.on("request", lambda r: None if r.url.startswith(origin) else trouble.append(f"elsewhere: {r.url}"))
        self.page.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        self.origin, self.trouble, self.checked = origin, trouble, []

    def go(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def settle(self) -> None:
        sync_api.expect(self.page.locator("#saved")).to_have_text("saved")

    def accessible(self, name: str) -> None:
        """axe finds nothing, and nothing scrolls sideways."""
        self.page.evaluate(axe.AXE_SCRIPT)
        self.trouble += [f"axe on {name}: {found}" for found in self.page.evaluate(AXE)]
        if self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.trouble.append(f"{name} scrolls sideways: {self.page.evaluate(WIDE)}")


def by_pointer(page) -> None:
    """A frame around two tiles picks both; dragging one of them onto a class calls both."""
    page.select_option("#order", "class")
    list_ = page.locator("#gallery section:not([hidden]) .tiles-list", has=page.locator(".tile:nth-child(2)")).first
    # Not under the bar of classes.
    list_.locator(".tile").first.evaluate("(tile) => tile.scrollIntoView({ block: 'center' })")
    a, b = (list_.locator(".tile").nth(n).bounding_box() for n in (0, 1))
    page.mouse.move(a["x"] - 6, a["y"] + 4)
    page.mouse.down()
    page.mouse.move(b["x"] + 9, b["y"] + 30, steps=4)
    page.mouse.up()
    sync_api.expect(page.locator(".tile.picked")).to_have_count(2)
    ids = page.locator(".tile.picked").evaluate_all("tiles => tiles.map((t) => t.id)")
    target = page.locator(".class[data-call=basophil]").bounding_box()
    page.mouse.move(b["x"] + 30, b["y"] + 30)
    page.mouse.down()
    page.mouse.move(target["x"] + 12, target["y"] + 12, steps=4)
    page.mouse.up()
    for name in ids:
        sync_api.expect(page.locator(f"#{name}")).to_have_attribute("aria-label", re.compile("^basophil"))


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_whole_path(browser, origin, width):
    trouble: list[str] = []
    anna = Reader(browser, origin, width, trouble, color_scheme="dark" if width == 390 else "light")
    page = anna.page
    anna.go("/")
    anna.accessible("worklist")
    patient = page.locator("a.open").first.get_attribute("href")
    anna.press("j", "Enter")
    page.wait_for_selector(".tile")
    anna.accessible("cells")
    # 30 cells by keyboard: each press is one cell, the next takes its place.
    page.select_option("#order", "cost")
    page.locator("h1").click()
    anna.press("ArrowRight")
    for number in range(30):
        anna.press("ml"[number % 2] if number < 29 else "u")
    anna.settle()
    changed = page.locator(".tile.read").count()
    assert changed == 30, "one key, one cell"
    sync_api.expect(page.locator("#numbers tr.changed").first).to_be_attached()  # the differential follows
    anna.press("z")
    anna.settle()
    assert page.locator(".tile.read").count() == 29
    anna.press("Z")
    anna.settle()
    assert page.locator(".tile.read").count() == 30
    # A note on the patient; where the chosen cell has no column of its own it is a sheet.
    if width < 760:
        page.locator("summary", has_text="Notes").click()
    page.locator("form[data-about=patient] textarea").fill("basophilic stippling")
    page.get_by_role("button", name="Note it").first.click()
    sync_api.expect(page.locator("#notes")).to_contain_text("basophilic stippling")
    if width < 1100:
        page.locator("#look").click()
        sync_api.expect(page.locator("#cellfacts h3").first).to_be_visible()
    page.locator("#more").click()
    sync_api.expect(page.locator("#cellfacts .others img")).to_have_count(12)
    sync_api.expect(page.locator(".tile.picked")).to_have_count(12)
    anna.accessible("like cells")
    anna.press("Escape")
    if width >= 1100:
        by_pointer(page)
        anna.settle()
    # A missed cell, in its field.
    page.goto(re.sub("#.*", "", page.url) + "/f/1")
    page.wait_for_selector("#viewer canvas")
    before = page.locator("#cells button").count()
    page.locator("#viewer").hover()
    anna.press("c")
    sync_api.expect(page.locator("#cells button")).to_have_count(before + 1)
    anna.press("e")
    anna.settle()
    assert page.locator("#cells button[aria-pressed=true]").inner_text().startswith("eosinophil")
    anna.accessible("field")
    first = re.search("/r/([^/]+)", page.url).group(1)
    anna.go(f"/r/{first}/sign")
    assert page.locator(".flags").first.inner_text().startswith("1 cell unidentified")
    anna.accessible("sign")
    page.get_by_role("button", name="Done, for comparison").click()

    # The second reader is blind to the first, and ends too.
    ben = Reader(browser, origin, width, trouble)
    ben.go("/")
    ben.page.locator(".whois summary").click()
    ben.page.locator(".whois input[name=name]").fill("Ben")
    ben.page.get_by_role("button", name="Change").click()
    ben.go(patient)
    ben.accessible("join or read blind")
    ben.page.get_by_role("button", name="Read blind").click()
    ben.page.wait_for_selector(".tile")
    assert ben.page.locator(".tile.read").count() == 0
    ben.press("ArrowRight", "m", "Shift+Space")
    ben.settle()
    second = ben.page.url
    ben.page.goto(second + "/../../.." + f"{patient}/compare")
    ben.page.get_by_role("button", name="My reading is done").click()
    ben.page.wait_for_selector("text=kappa")
    ben.accessible("comparison")
    ben.page.get_by_role("button", name="Decide").click()
    ben.page.wait_for_selector(".tile")
    undecided = ben.page.locator("#gallery > section:has(#h-differ) .tile").count()
    assert undecided > 0
    ben.page.locator("#gallery > section:has(#h-differ) .tile").first.click()
    for _ in range(undecided):
        ben.press("l")
    ben.settle()
    assert ben.page.locator("#gallery > section:has(#h-differ) .tile").count() == 0
    # What still stands as a blast is confirmed, a section at a time.
    blasts = ben.page.locator("#gallery > section:is(:has([id$=blast]), :has(#h-apl_promyelocyte)) .tile:not(.read)")
    while blasts.count():
        blasts.first.click()
        ben.press("Shift+Space")
        ben.settle()
    ben.go("/r/" + re.search("/r/([^/#]+)", ben.page.url).group(1) + "/sign")
    ben.page.get_by_role("button", name="Sign this reading").click()
    ben.page.wait_for_selector("text=Handed over")
    ben.accessible("signed")
    files = {}
    for form in ("PDF", "CSV", "XLSX", "JSON"):
        with ben.page.expect_download() as coming:
            ben.page.get_by_role("link", name=form, exact=True).click()
        with open(coming.value.path(), "rb") as file:
            files[form] = file.read()
    record = json.loads(files["JSON"])
    assert record["signed"]["by"] == "Ben" and {r["reader"] for r in record["readings"]} == {"Anna", "Ben"}
    rows = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    added = [c for c in record["cells"] if c["model"] is None]
    assert [note["text"] for note in record["notes"]] == ["basophilic stippling"]
    assert len(rows) == len(record["cells"]) and [c["class"] for c in added] == ["lymphocyte"]
    book = load_workbook(io.BytesIO(files["XLSX"]))
    assert book.sheetnames == ["Summary", "Differential", "Cells"] and book["Cells"].max_row == len(rows) + 1
    assert files["PDF"].startswith(b"%PDF-")
    for name in ("/learn", "/admin", "/help", f"{patient}/audit"):
        ben.go(name)
        ben.accessible(name)
    anna.context.close()
    ben.context.close()
    assert not trouble, "\n".join(trouble)

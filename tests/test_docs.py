"""The documentation is under test: commands parse, links lead somewhere, made pages hold what they promise."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from leukoscope.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MADE = ("index.md", "cli.md", "classes.md", "training.md")  # by site_hooks.py
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def load(name: str):
    """A script of the docs folder as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> list[str]:
    """The `leukoscope` lines of a page's blocks that are given to be typed (those without a language)."""
    text = "".join(body for language, body in BLOCK.findall(page.read_text("utf-8")) if not language)
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("leukoscope ")]


def test_the_docs_show_commands():
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: str(p.relative_to(DOCS)))
def test_every_command_shown_is_one(page):
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        try:
            build_parser().parse_args(words)
        except SystemExit as stop:
            assert stop.code == 0, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_every_link_leads_somewhere(page):
    text = BLOCK.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text):
        if re.match(r"https?:", target) or Path(target).name in MADE:
            continue
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links {target}"


def test_configurations_that_the_docs_name_are_there():
    for page in (*PAGES, ROOT / "README.md"):
        if page.parent.name == "decisions" or page.name == "log.md":
            continue  # they speak of what was there then
        for config in re.findall(r"configs/[\w/.-]+\.toml", page.read_text("utf-8")):
            assert (ROOT / config).is_file(), f"{page.name}: {config}"


def test_every_option_of_every_command_is_documented():
    page = load("site_hooks").cli_page()
    for option in ("--um-per-px", "--patients", "--resume", "--leave-one-center-out", "--choose", "--centers"):
        assert option in page
    assert page.count("## `leukoscope ") > 12 and "## `leukoscope dataset import`" in page
    assert "## `leukoscope analyse`" not in page  # another spelling, the same command


def test_every_class_is_listed():
    from leukoscope.taxonomy import TAXONOMIES

    page = load("site_hooks").classes_page()
    assert all(f"| `{name}` |" in page for taxonomy in TAXONOMIES.values() for name in taxonomy.names)


def test_every_key_of_every_task_is_documented():
    pytest.importorskip("torch", reason="the settings of training need the extra: pip install '.[train]'")
    from leukoscope.train.run import TASKS

    hooks = load("site_hooks")
    page = hooks.training_page()
    assert {task for task, _, _ in hooks.TASKS} == set(TASKS)
    for key in ("learning_rate", "own_colour", "frozen_blocks", "levels", "half_weights", "share"):
        assert f"| `{key}` |" in page
    row = next(line for line in page.splitlines() if line.startswith("| `half_weights` |"))
    assert "sixteen bits" in row and "`False`" in row


def test_breaking_lines_keeps_every_word_and_settles():
    prose = load("prose")
    for page in prose.pages():
        text = page.read_text("utf-8")
        once = prose.reflow(text)
        assert once.split() == text.split(), page.name
        assert prose.reflow(once) == once, page.name
        assert prose.measure(once)[2] == 0, f"{page.name} has a line that can't be broken"


def test_a_sentence_a_line():
    prose = load("prose")
    text = (
        "One sentence (e.g. this one) ends. Another, of 3.5 words, has `code. With a dot` in it! Is a third there?"
        " Yes.\n"
        "\n- An item that is longer than a line may be, because it goes on and on, and then it goes on further, until"
        " it is too long.\n\n```\nleft. As it. Is.\n```\n\n| a. B | c. D |\n"
    )
    lines = prose.reflow(text).splitlines()
    assert lines[:4] == ["One sentence (e.g. this one) ends.", "Another, of 3.5 words, has `code. With a dot` in it!",
                         "Is a third there?", "Yes."]  # fmt: skip
    assert lines[5].startswith("- An item") and lines[5].endswith(",") and lines[6].startswith("  ")
    assert "left. As it. Is." in lines and "| a. B | c. D |" in lines
    assert prose.measure("Three words here. Two words.\n") == (5, 2, 0)

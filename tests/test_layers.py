"""Imports go one way (docs/decisions/0001), and torch stays where training is."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "leukoscope"

# Left to right only; a package may import itself.
ORDER = (
    "errors",
    "progress",
    "allocation",
    "files",
    "stores",
    "pseudonyms",
    "cores",
    "practice",
    "taxonomy",
    "raster",
    "types",
    "entries",
    "geometry",
    "contours",
    "intervals",
    "images",
    "dataset",
    "models",
    "doctor",
    "scale",
    "locate",
    "crop",
    "crop_contour",
    "outline",
    "classify",
    "count",
    "flags",
    "quantify",
    "report",
    "exchange",
    "pipeline",
    "evaluate",
    "drift",
    "checks",
    "simulate",
    "train",
    "demo",
    "experiments",
    "web",
    "cli",
)
FILES = sorted(SOURCE.rglob("*.py"))


def imported_modules(file: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function, by full dotted name."""
    found = set()
    package = ("leukoscope", *file.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            found.add(module)
            if module == "leukoscope":
                found |= {f"leukoscope.{alias.name}" for alias in node.names}
    return found


def part_of(file: Path) -> str:
    """The first name below the package: `leukoscope/dataset/voc.py` is part of `dataset`."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_go_left_to_right(file):
    part = part_of(file)
    if part in ("__init__", "__main__"):
        # The front door: it names the others as text and imports none of them before it is asked.
        assert {m for m in imported_modules(file) if m.startswith("leukoscope.")} <= {"leukoscope.cli"}
        return
    assert part in ORDER, f"{part} has no place in the order of imports: give it one here and in docs/decisions/0001"
    parts = {m.split(".")[1] for m in imported_modules(file) if m.startswith("leukoscope.")} - {"__version__", part}
    wrong = sorted(p for p in parts if p not in ORDER or ORDER.index(p) > ORDER.index(part))
    assert not wrong, f"{file.name} ({part}) imports {', '.join(wrong)}, which stands to its right"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_torch_is_imported_only_where_models_are_made(file):
    place = file.relative_to(SOURCE)
    if part_of(file) in ("train", "experiments") or str(place).startswith("models/torch_"):
        return
    torch = {"torch", "onnx", "onnxscript", "torchvision", "efficientnet_lite_pytorch", "transformers"}
    heavy = sorted({m.split(".")[0] for m in imported_modules(file)} & torch)
    assert not heavy, f"{place} imports {', '.join(heavy)}: analysis starts without it"


@pytest.mark.parametrize("file", [f for f in FILES if part_of(f) in ("__init__", "cli")], ids=lambda f: f.stem)
def test_the_command_line_imports_nothing_heavy_at_its_top(file):
    tree = ast.parse(file.read_text("utf-8"))
    top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names} | {
        n.module for n in top if isinstance(n, ast.ImportFrom)
    }
    light = {
        "__future__",
        "leukoscope.progress",
        "argparse",
        "collections",
        "collections.abc",
        "contextlib",
        "errno",
        "importlib",
        "importlib.util",
        "os",
        "pathlib",
        "sys",
        "time",
        "typing",
        "leukoscope",
        "leukoscope.errors",
        "leukoscope.dataset.formats",  # a table of names, which loads a format when it is asked for
        "leukoscope.exchange.formats",  # the same
        "leukoscope.models.devices",  # names; ONNX Runtime is loaded when one is chosen
    }
    heavy = sorted(n for n in names if n not in light and not n.startswith("leukoscope.cli"))
    assert not heavy, f"{file.name} imports {', '.join(heavy)} before it knows which command runs"


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A circle of modules that import one another, none: []. imports: module → those it imports."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def module_of(file: Path) -> str:
    return ".".join(("leukoscope", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_circle_of_imports_anywhere():
    """Also through imports inside functions and for types alone: of two modules one can be read without the other."""
    modules, imports = {module_of(f) for f in FILES}, {}
    for file in FILES:
        found = set()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file}: imports are written in full"
                # `from package import module` is of the module, not of what the package's __init__ imports.
                inner = {a.name: f"{node.module}.{a.name}" for a in node.names}
                found |= {full if full in modules else node.module for full in inner.values()}
        imports[module_of(file)] = (found & modules) - {module_of(file)}
    assert not circle(imports), " ← ".join(circle(imports))
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})


def test_every_source_file_is_seen():
    assert {"errors", "types", "cli", "models"} <= {part_of(f) for f in FILES}

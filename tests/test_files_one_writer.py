"""Every file that a command leaves is written by `leukoscope.files`: whole or not at all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "leukoscope"
FILES = sorted(SOURCE.rglob("*.py"))

# Where something else is right, and why.
ALLOWED = {
    "files.py": "it is the writer",
    "pipeline/journal.py": "a log that grows line by line; a torn last line is dropped",
    "train/checkpoint.py": "the same, of a training",
    "images/slides/copies.py": "a copy that is removed with the run; it is made beside its place and then renamed",
    "dataset/archive.py": "unpacked into a folder that is removed when it fails",
    "simulate/slide_files.py": "spools of tiles in a temporary folder, from which the slide is made",
    "web/media.py": "named by its digest, which is known when it is whole; synced there",
    "web/store/schema.py": "SQLite writes its backup itself, and syncs it",
    "train/quantise.py": "a whole model is made in a folder beside its place, which is then renamed",
    "train/quantise_graph.py": "onnx writes the graph by its name, into that folder",
    "models/torch_onnx.py": "onnx writes the graph by its name; the card with its digest comes last",
}

_SAVERS = {("np", "savez"), ("np", "savez_compressed"), ("np", "save"), ("torch", "save"), ("onnx", "save")}
_MOVERS = {("os", "replace"), ("os", "rename"), ("tempfile", "mkstemp")}
_COPIERS = {("shutil", name) for name in ("copy", "copy2", "copyfile", "copytree", "move")}


def plain_writes(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, what) of each call that writes a file by its name, past the one writer."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".part"):
            found.append((node.lineno, "a .part file"))
        if not isinstance(node, ast.Call):
            continue
        f = node.func
        name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
        owner = f.value.id if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) else ""
        modes = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        modes += [k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
        if name in ("open", "fdopen") and any(set(m) <= set("rwaxbt+") and set(m) & set("wax+") for m in modes):
            found.append((node.lineno, "open for writing"))
        elif isinstance(f, ast.Attribute) and name in ("write_text", "write_bytes") and owner != "files":
            found.append((node.lineno, name))
        elif (owner, name) in _MOVERS | _COPIERS:
            found.append((node.lineno, f"{owner}.{name}"))
        elif (owner, name) in _SAVERS and not any(isinstance(a, ast.Name) and a.id == "file" for a in node.args):
            found.append((node.lineno, f"{owner}.{name} to a name"))
    return found


def test_files_are_written_by_the_one_writer():
    found = {f.relative_to(SOURCE).as_posix(): plain_writes(ast.parse(f.read_text("utf-8"))) for f in FILES}
    wrong = {where: writes for where, writes in found.items() if writes and where not in ALLOWED}
    assert not wrong, f"{wrong}: take write_whole, write_text, write_json or write_table of leukoscope.files"
    assert not [where for where in ALLOWED if not found.get(where)], "excused, and needs no excuse any more"


@pytest.mark.parametrize(
    "text",
    ["open(path, 'w')", "open(path, mode='ab')", "path.open('x')", "path.write_text('')", "path.write_bytes(b'')",
     "os.replace(a, b)", "shutil.copyfile(a, b)", "p.with_name('a.part')", "np.savez(path, a=1)",
     "torch.save(s, path)"],
)  # fmt: skip
def test_each_way_of_writing_is_seen(text):
    assert plain_writes(ast.parse(text))
    assert not plain_writes(ast.parse("open(path); open(path, 'rb'); text.replace('a', 'b'); np.savez(file, a=1)"))

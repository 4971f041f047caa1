"""What is installed: the public surface, the runtime dependencies, the files that must travel along."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

import leukoscope

PUBLIC = {
    "__version__",
    "AnalyzeOptions",
    "Calls",
    "Cells",
    "Dataset",
    "Differential",
    "Field",
    "FieldKey",
    "LeukoscopeError",
    "Ratio",
    "Taxonomy",
    "analyze",
    "evaluate_model",
    "find_model",
    "import_dataset",
    "read_dataset",
    "read_field",
    "read_record",
    "read_taxonomy",
}


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_public_names_are_these():
    # A name more is a promise more; a name less breaks somebody: change this list and the CHANGELOG together.
    assert set(leukoscope.__all__) == PUBLIC
    assert len(leukoscope.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_loads_and_is_documented(name):
    value = getattr(leukoscope, name)
    assert value.__name__ == name
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        _ = leukoscope.analyse


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, leukoscope, leukoscope.cli; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "leukoscope" in loaded
    assert not {"numpy", "PIL", "onnxruntime", "rich", "scipy", "threadpoolctl", "torch"} & set(loaded)


def test_analysis_loads_without_torch_and_without_the_test_extra():
    blocked = ("torch", "onnx", "scipy", "sklearn", "tifffile", "pycocotools", "hypothesis")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked!r}))  # an import of any of them fails from here on
import leukoscope
for name in leukoscope.__all__:
    getattr(leukoscope, name)
from leukoscope.cli import evaluate, simulate
import leukoscope.evaluate, leukoscope.simulate, leukoscope.report
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_runtime_dependencies_are_few(project):
    names = {re.match(r"[A-Za-z0-9-]+", line).group() for line in project["dependencies"]}
    assert names == {"numpy", "onnxruntime", "pillow", "rich", "threadpoolctl"}


def test_constraints_are_names_and_versions_only(root, project):
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    # YOLO's extra is the one that `make` never installs.
    extras = [d for name, extra in project["optional-dependencies"].items() if name != "yolo" for d in extra]
    wanted = {re.match(r"[A-Za-z0-9-]+", line).group().lower() for line in project["dependencies"] + extras}
    assert wanted - {"leukoscope"} <= pinned


def test_bundled_models_are_package_data(root):
    bundled = root / "src" / "leukoscope" / "models" / "bundled"
    files = [f for f in bundled.rglob("*") if f.is_file()]
    patterns = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"][
        "leukoscope"
    ]
    for file in files:
        assert any(file.match(p.removeprefix("**/")) for p in patterns), f"{file.name} would not be installed"
    assert sum(f.stat().st_size for f in files) < 45e6
    traced = [f.as_posix() for f in files if f.suffix == ".onnx" and re.search(rb"/\w+\.py\b", f.read_bytes())]
    assert not traced, f"{traced} name the folders of the machine that wrote them (torch_onnx.drop_traces)"


def test_licence_is_apache_2(root):
    text = (root / "LICENSE").read_text("utf-8")
    assert "Apache License" in text and "Version 2.0" in text and "END OF TERMS AND CONDITIONS" in text
    assert f"version: {leukoscope.__version__}" in (root / "CITATION.cff").read_text("utf-8")


def test_no_committed_text_names_a_download_or_this_machine(root):
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: there is no list of committed files")
    bad = re.compile(r"https?://\S+\.(whl|tgz|deb|tar\.gz)|" + re.escape(str(root.parent) + "/"))
    for name in listed.stdout.splitlines():
        file = root / name
        if file.suffix in {".py", ".toml", ".txt", ".md", ".json", ".csv", ".cff", ".yml", ""} and file.is_file():
            found = bad.search(file.read_text("utf-8"))
            assert not found, f"{name}: {found.group()}"


def test_model_cards_in_docs_are_the_models_own(root):
    folder = root / "docs" / "model-cards"
    spec = importlib.util.spec_from_file_location("make_model_cards", root / "docs" / "make_model_cards.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    expected = script.model_cards()
    assert {f.name: f.read_text("utf-8") for f in folder.glob("*.md")} == expected, "run `make model-cards`"


def test_the_tables_of_formats_in_docs_are_the_codes_own(root):
    spec = importlib.util.spec_from_file_location("make_formats", root / "docs" / "make_formats.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text("utf-8")
    assert page.count("<!-- formats ") == 2 and script.written_into(page) == page, "run `make formats`"

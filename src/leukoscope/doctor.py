"""What is installed, what each extra would add, which accelerator there is, and where the models lie."""

import importlib
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import leukoscope
from leukoscope.cores import usable_cores
from leukoscope.errors import ModelError
from leukoscope.images.slides.formats import FORMATS, why_not
from leukoscope.models.bundle import BUNDLED, bundled_names, find_model
from leukoscope.models.devices import BUILDS, DEVICES, build
from leukoscope.models.devices import why_not as why_not_device

# What an extra is for; of one that is not here the packages are named.
EXTRAS = {
    "train": "leukoscope train and adapt: torch and the exporter",
    "slides": "whole slides: SVS, NDPI, MRXS, SCN, BIF, pyramidal and OME-TIFF, DICOM",
    "study": "the two papers' studies: their networks, figures and statistics",
    "review": "the reading room: review, correct, sign",
    "dicom": "leukoscope export --to dicom: photographs, cells and reports as DICOM",
    "xlsx": "leukoscope export --to xlsx: the differential as a workbook",
    "review-postgresql": "the reading room's database for several readers",
    "ray": "analysis on many cores or machines (analyze --engine ray)",
    "stores": "photographs and runs in object stores (s3://, gs://)",
    "cuda": "analysis on a graphics card (analyze --device cuda)",
    "openvino": "analysis through OpenVINO (analyze --device openvino)",
    "docs": "the documentation site (make docs)",
    "yolo": "YOLO11 by ultralytics (AGPL-3.0)",
    "test": "the test suite and the references it compares with",
}
DINOBLOOM = Path("weights")  # where configs/dinobloom-s.toml and configs/pcm look for DinoBloom's files
DINOBLOOM_FROM = "https://github.com/marrlab/DinoBloom"  # its authors
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_OWN = re.compile(r"^leukoscope\[([a-z0-9-]+)\]")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. ok: False where the default install does not work, None for what is optional."""

    topic: str
    text: str
    ok: bool | None = True


def examine() -> list[Finding]:
    """Look at everything; nothing is changed and nothing is loaded from the network."""
    return [*_system(), *_packages(), *_slides(), *_accelerators(), *_models(), _dinobloom()]


def _system() -> Iterator[Finding]:
    yield Finding("leukoscope", f"{leukoscope.__version__} in {leukoscope.__path__[0]}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable})", sys.version_info >= (3, 11))
    yield Finding("machine", f"{platform.platform()}, {usable_cores()} cores")


def _packages() -> Iterator[Finding]:
    needed = _requirements()
    missing = [name for name in needed.pop("", ()) if not any(map(_version, BUILDS if name in BUILDS else (name,)))]
    installed = [f"{name} {_version(name)}" for name in _requirements().get("", ()) if name not in missing]
    yield Finding("default install", ", ".join(installed) or "nothing", not missing)
    if missing:
        yield Finding("missing", f"{', '.join(missing)}: run `pip install leukoscope` again", False)
    for extra, names in sorted(needed.items()):
        absent = [name for name in names if _version(name) is None]
        state = "installed" if not absent else f"not installed (lacks {', '.join(absent)}): pip install '.[{extra}]'"
        yield Finding(f"extra {extra}", f"{EXTRAS.get(extra, ', '.join(names))}: {state}", None if absent else True)


def _requirements() -> dict[str, list[str]]:
    """{"": names of the default install, extra: its names, those of an extra that it includes too}."""
    groups: dict[str, list[str]] = {"": []}
    includes: dict[str, str] = {}
    try:
        lines = metadata.requires("leukoscope") or []
    except metadata.PackageNotFoundError:  # run from a source folder that was never installed
        lines = []
    for line in lines:
        marker, match = _EXTRA.search(line), _OWN.match(line)
        extra = marker.group(1) if marker else ""
        names = groups.setdefault(extra, [])
        if match:
            includes[extra] = match.group(1)
        elif name := _NAME.match(line):
            names.append(name.group(0))
    for extra, other in includes.items():
        groups[extra] = [*groups.get(other, ()), *groups[extra]]
    return groups


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _slides() -> Iterator[Finding]:
    """A line a slide format: what reads it here, or how to get that."""
    for row in FORMATS:
        problems = [f"{name} {why}" for package, name in row.packages if (why := why_not(package)) is not None]
        text = ", ".join(f"{name} {_version(name)}" for _, name in row.packages)
        if problems:
            text = f"not read ({', '.join(problems)}): pip install 'leukoscope[slides]'"
        yield Finding(f"slides {row.suffixes}", f"{row.names}: {text}", None if problems else True)


def _accelerators() -> Iterator[Finding]:
    yield Finding("analysis runs on", f"the processor ({build()})")
    for name in DEVICES[2:]:  # after auto and the processor
        why = why_not_device(name)
        found = f"leukoscope analyze --device {name}" if why is None else f"not here: {why}"
        yield Finding(f"analysis on {name}", found, None if why else True)
    if _version("torch") is None:
        yield Finding("training runs on", "nothing: torch is not installed", None)
        return
    cuda = importlib.import_module("torch").cuda
    where = cuda.get_device_name(0) if cuda.is_available() else "the processor (torch sees no accelerator)"
    yield Finding("training runs on", f"{where}, torch {_version('torch')}")


def _models() -> Iterator[Finding]:
    yield Finding("models", f"{BUNDLED}")
    for name in bundled_names():
        try:
            parts = ", ".join(f"{b.card.task}: {b.card.name}" for b in find_model(name).values())
            size = sum(f.stat().st_size for f in (BUNDLED / name).rglob("*.onnx")) / 1e6
            yield Finding(f"model {name}", f"{parts} ({size:.0f} MB, digests fit)")
        except ModelError as error:
            yield Finding(f"model {name}", str(error), False)


def _dinobloom() -> Finding:
    """DinoBloom's files, which its authors publish and nobody else may need."""
    weights = sorted(DINOBLOOM.glob("DinoBloom-?.pth"))
    if not weights:
        place = DINOBLOOM / "DinoBloom-S.pth"
        return Finding("DinoBloom", f"no {place} here (optional): its authors publish it, {DINOBLOOM_FROM}", None)
    files = ", ".join(f"{path} ({path.stat().st_size / 1e6:.0f} MB)" for path in weights)
    return Finding("DinoBloom", f"{files}: leukoscope train configs/dinobloom-s.toml")

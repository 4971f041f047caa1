"""What stands beside a study's numbers: the commit, the machine, the command, the versions."""

import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

from leukoscope.cores import processor_name, usable_cores
from leukoscope.train.run import source_commit

PACKAGES = ("numpy", "torch", "transformers", "ultralytics", "onnxruntime")


def provenance() -> dict[str, str]:
    """Commit, machine, versions and command, as words."""
    return {"commit": source_commit(), "machine": machine(), "versions": versions(), "command": command()}


def machine() -> str:
    """Cores, processor, system and accelerator."""
    cores = usable_cores()
    parts = [f"{cores} cores", processor_name(), platform.system(), _accelerator()]
    return ", ".join(p for p in parts if p)


def versions() -> str:
    """Python and the packages that numbers depend on, those installed."""
    lines = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(lines)


def command() -> str:
    """The command as typed; folders named by an absolute path keep their last part only."""
    if Path(sys.argv[0]).stem not in ("leukoscope", "__main__"):
        return "called from Python"
    words = [f"…/{shlex.quote(Path(w).name)}" if os.path.isabs(w) else shlex.quote(w) for w in sys.argv[1:]]
    return " ".join(["leukoscope", *words])


def _accelerator() -> str:
    if "torch" not in sys.modules:
        return ""
    torch = sys.modules["torch"]
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"

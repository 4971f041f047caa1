"""Which library reads which slide format, for `leukoscope doctor` and the documentation: one table."""

import importlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlideFormat:
    """Formats that go the same way: their names, suffixes, and the packages (import name, name to install) it takes."""

    names: str
    suffixes: str
    packages: tuple[tuple[str, str], ...]


_OPENSLIDE = (("openslide", "openslide-python"),)
_TIFFFILE = (("tifffile", "tifffile"), ("imagecodecs", "imagecodecs"))
FORMATS = (
    SlideFormat("Aperio", ".svs .svslide", _OPENSLIDE),
    SlideFormat("Hamamatsu", ".ndpi .vms .vmu", _OPENSLIDE),
    SlideFormat("3DHISTECH (with its folder)", ".mrxs", _OPENSLIDE),
    SlideFormat("Leica", ".scn", _OPENSLIDE),
    SlideFormat("Ventana", ".bif", _OPENSLIDE),
    SlideFormat("pyramidal TIFF, Philips TIFF", ".tif .tiff", _OPENSLIDE),
    SlideFormat("OME-TIFF, planes of focus", ".ome.tif", _TIFFFILE),
    SlideFormat("large stitched TIFF", ".tif .tiff .btf", _TIFFFILE),
    SlideFormat("DICOM whole slides, planes of focus", ".dcm", (("wsidicom", "wsidicom"), ("pydicom", "pydicom"))),
)


def why_not(package: str) -> str | None:
    """Why a package can't be imported, in a few words; None where it can."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        # OpenSlide's wrapper without its library says so by this error as well.
        return "not installed" if error.name == package else f"does not load: {' '.join(str(error).split())[:100]}"
    except Exception as error:  # a library that does not fit this machine fails in its own way
        return f"does not load: {' '.join(str(error).split())[:100]}"
    return None

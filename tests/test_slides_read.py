"""Slides in: the right reader, the right pixels, one line for what can't be read, and nothing of label or macro."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from data.make_slide import make_ome, make_slide, make_stitched
from PIL import Image, ImageFilter

from leukoscope import doctor
from leukoscope.errors import ImageError
from leukoscope.images.slides import Region, is_slide, one_a_slide, open_slide, read_region, slide_digest, slide_sha256
from leukoscope.images.slides import names as slide_names
from leukoscope.images.slides import slide as slide_limits
from leukoscope.simulate.slide import SlideOptions
from leukoscope.simulate.slide_dicom import Series
from leukoscope.simulate.slide_files import simulate_slide, write_encapsulated

SIZE = (1100, 1500)  # height, width
SLIDE = (2600, 1800)  # width, height


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Blobs of all sizes, sharp and coloured: every place differs from every other."""
    small = np.random.default_rng(5).integers(0, 256, (SIZE[0] // 10, SIZE[1] // 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.NEAREST))


@pytest.fixture(scope="session")
def rendered_slide(tmp_path_factory) -> Path:
    """A rendered slide of half a square millimetre, as TIFF and as DICOM."""
    return simulate_slide(tmp_path_factory.mktemp("slide") / "out", SlideOptions(*SLIDE, 11))


def opened(path: Path):
    slide = open_slide(path)
    slide.close()
    return slide


BOXES = [(0, 0, 40, 30), (200, 240, 530, 300), (1400, 1000, 1500, 1100)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", ["pyramid", "strips", "plain", "ome"])
def test_a_box_has_the_pixels_that_were_written(tmp_path, pixels, kind, box):
    path = tmp_path / ("a.tif" if kind != "ome" else "a.ome.tif")
    make = {
        "pyramid": lambda: make_slide(path, pixels),
        "strips": lambda: make_stitched(path, pixels),
        "plain": lambda: make_stitched(path, pixels, compression=None, rows=SIZE[0]),
        "ome": lambda: make_ome(path, pixels[None]),
    }
    make[kind]()
    slide = open_slide(path)
    assert slide.facts.reader == ("openslide" if kind == "pyramid" else "tifffile")
    assert slide.facts.size == SIZE[::-1]
    x0, y0, x1, y1 = box
    assert (slide.read(box) == pixels[y0:y1, x0:x1]).all()
    with pytest.raises(ImageError):
        slide.read((0, 0, SIZE[1] + 1, 5))
    slide.close()


def test_the_scale_is_the_files_and_nonsense_is_none(tmp_path, pixels):
    fine = opened(make_slide(tmp_path / "a.tif", pixels, um_per_px=0.2345)).facts.um_per_px
    assert fine == pytest.approx(0.2345, abs=1e-4)
    assert opened(make_ome(tmp_path / "b.ome.tif", pixels[None], um_per_px=0.5)).facts.um_per_px == 0.5
    assert opened(make_stitched(tmp_path / "c.tif", pixels)).facts.um_per_px is None
    assert opened(make_slide(tmp_path / "d.tif", pixels, um_per_px=350.0)).facts.um_per_px is None  # 72 dots an inch


def test_the_levels_of_a_pyramid_are_those_of_the_file(tmp_path, pixels):
    for path in (make_slide(tmp_path / "a.tif", pixels), make_ome(tmp_path / "b.ome.tif", pixels[None])):
        slide = open_slide(path)
        assert slide.facts.levels[1].downsample == pytest.approx(4, rel=0.01)
        small = slide.read((0, 0, 50, 40), level=1)
        assert np.abs(small.astype(int) - pixels[:160:4, :200:4]).mean() < 60  # the same place, not another
        slide.close()


def test_the_sharpest_plane_of_a_place_is_read_once(tmp_path, pixels):
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5)))
    left_sharp, right_sharp = pixels.copy(), pixels.copy()
    left_sharp[:, 750:], right_sharp[:, :750] = soft[:, 750:], soft[:, :750]
    path = make_ome(tmp_path / "stack.ome.tif", np.stack([soft, left_sharp, right_sharp]))
    for x, sharpest in ((50, 1), (900, 2)):
        box = (x, 100, x + 500, 600)
        found, plane = read_region(path, Region(box, box, box, None, None, slide_digest(path)))
        assert plane == sharpest and (found == pixels[100:600, x : x + 500]).all()


def test_a_slide_that_changed_is_not_mixed_with_what_it_was(tmp_path, pixels):
    path = make_slide(tmp_path / "a.svs", pixels)
    region = Region((0, 0, 300, 300), (0, 0, 300, 300), (0, 0, 300, 300), None, None, slide_digest(path))
    read_region(path, region)
    make_slide(path, pixels[::-1])
    with pytest.raises(ImageError) as caught:
        read_region(path, region)
    assert caught.value.reason == "changed"


def test_tiff_and_dicom_of_one_slide_have_the_same_pixels(rendered_slide):
    slides = [open_slide(rendered_slide / "slide.tif"), open_slide(rendered_slide / "dicom" / "level-0.dcm")]
    assert [s.facts.reader for s in slides] == ["openslide", "wsidicom"]
    assert slides[0].facts.size == slides[1].facts.size and slides[0].facts.um_per_px == slides[1].facts.um_per_px
    for level, box in ((0, (500, 300, 1300, 900)), (1, (10, 20, 600, 400))):
        first, second = (s.read(box, level=level) for s in slides)
        assert (first == second).all()
    for slide in slides:
        slide.close()


def test_openslide_reads_the_dicom_files_too(rendered_slide):
    import openslide

    with openslide.OpenSlide(str(rendered_slide / "dicom" / "level-0.dcm")) as slide:
        assert slide.dimensions == SLIDE and float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)


def test_which_files_are_slides(tmp_path, pixels, monkeypatch):
    assert is_slide("a.svs") and is_slide("a.MRXS") and is_slide("a.dcm") and not is_slide("a.jpg")
    pyramid, stitched = make_slide(tmp_path / "a.tif", pixels), make_stitched(tmp_path / "b.tif", pixels)
    assert not is_slide(pyramid) and not is_slide(stitched)  # of a photograph's size
    monkeypatch.setattr(slide_names, "_TILED_SLIDE", 1_000_000)
    assert is_slide(pyramid) and not is_slide(stitched)
    monkeypatch.setattr(slide_names, "MOST_PHOTOGRAPH", 1_500_000)
    assert is_slide(stitched)
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(50))
    assert is_slide(tmp_path / "IM0001")


def test_a_series_is_one_slide_and_its_label_none(rendered_slide):
    files = sorted((rendered_slide / "dicom").iterdir())
    assert [f.name for f in one_a_slide(files)] == ["level-0.dcm"]
    assert opened(rendered_slide / "dicom" / "level-1.dcm").facts.size == SLIDE
    with pytest.raises(ImageError, match="label"):
        open_slide(rendered_slide / "dicom" / "label.dcm")


def test_tiles_of_deep_zoom_and_parts_of_a_vms_are_no_photographs(tmp_path):
    names = ["a.dzi", "a_files/0/0_0.jpg", "b.vms", "b(0,0).jpg", "c.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b.vms").write_text("[Virtual Microscope Specimen]\nImageFile(0,0)=b(0,0).jpg\n")
    kept = one_a_slide([tmp_path / n for n in names])
    assert [str(f.relative_to(tmp_path)) for f in kept] == ["a.dzi", "b.vms", "c.jpg"]


def test_every_file_of_a_slide_is_in_its_digest(rendered_slide, tmp_path):
    shutil.copytree(rendered_slide / "dicom", tmp_path / "dicom")
    first = slide_sha256(tmp_path / "dicom" / "level-0.dcm")
    with open(tmp_path / "dicom" / "level-1.dcm", "r+b") as file:
        file.seek(-100, 2)
        file.write(b"x")
    assert slide_sha256(tmp_path / "dicom" / "level-0.dcm") != first
    (tmp_path / "m").mkdir()
    (tmp_path / "m.mrxs").write_bytes(b"x")
    (tmp_path / "m" / "Data0000.dat").write_bytes(b"1")
    first = slide_sha256(tmp_path / "m.mrxs")
    (tmp_path / "m" / "Data0000.dat").write_bytes(b"2")
    assert slide_sha256(tmp_path / "m.mrxs") != first


def damage(path: Path, how: str, pixels: np.ndarray) -> None:
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a slide")
    elif how == "truncated":
        make_slide(path, pixels)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    elif how == "tiles of 2^32 px":
        patch(make_slide(path, pixels), {322: 1 << 16, 323: 1 << 16})
    elif how == "a pyramid as wide as the moon":
        patch(make_slide(path, pixels), {256: 4_000_000_000, 257: 4_000_000_000})


def test_a_header_of_countless_samples_takes_no_memory(tmp_path, pixels):
    """34,464 samples a pixel once asked for 31 GB."""
    path = make_ome(tmp_path / "a.ome.tif", pixels[None])
    patch(path, {277: 34464})
    tracemalloc.start()
    with pytest.raises(ImageError):
        slide = open_slide(path)
        slide.read((0, 0, 600, 600))
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def patch(path: Path, values: dict[int, int]) -> None:
    """Other numbers in the first header of a TIFF."""
    data = bytearray(path.read_bytes())
    at = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[at : at + 2], "little")):
        place = at + 2 + 12 * entry
        tag = int.from_bytes(data[place : place + 2], "little")
        if tag in values:
            data[place + 2 : place + 4] = (4).to_bytes(2, "little")
            data[place + 8 : place + 12] = values[tag].to_bytes(4, "little")
    path.write_bytes(data)


DAMAGES = ["missing", "empty", "text", "truncated", "tiles of 2^32 px", "a pyramid as wide as the moon"]


@pytest.mark.parametrize("suffix", [".svs", ".tif", ".dcm", ".mrxs", ".ndpi"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_slide_is_one_clear_line(tmp_path, pixels, suffix, how):
    path = tmp_path / f"a{suffix}"
    damage(path, how, pixels)
    with pytest.raises(ImageError) as caught:
        slide = open_slide(path)
        try:
            slide.read((0, 0, 1200, 1000))
        finally:
            slide.close()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.reason in ("missing", "empty", "unsupported", "truncated", "damaged", "too_large")


@pytest.mark.parametrize("suffix", [".svs", ".dcm", ".tif"])
def test_a_pipe_under_a_slides_name_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a{suffix}")
    for read in (open_slide, slide_sha256, slide_digest):
        with pytest.raises(ImageError) as caught:
            read(tmp_path / f"a{suffix}")
        assert caught.value.reason in ("not_an_image", "missing")


def test_a_slide_goes_on_after_a_tile_that_can_not_be_read(tmp_path, pixels):
    path = make_slide(tmp_path / "a.svs", pixels)
    with tifffile.TiffFile(path) as tiff:
        first, n_bytes = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[first : first + n_bytes] = b"\xff" * n_bytes
    path.write_bytes(data)
    slide = open_slide(path)
    with pytest.raises(ImageError):
        slide.read((0, 0, 200, 200))
    assert (slide.read((1280, 800, 1400, 900)) == pixels[800:900, 1280:1400]).all()
    slide.close()


def test_without_the_extra_it_says_how_to_get_it(tmp_path, pixels, monkeypatch):
    path = make_slide(tmp_path / "a.svs", pixels)
    monkeypatch.setattr("leukoscope.images.slides.opening.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'leukoscope\[slides\]'") as caught:
        open_slide(path)
    assert caught.value.reason == "slide"


def test_no_slide_library_is_loaded_before_a_slide_is_opened():
    heavy = "{'openslide', 'wsidicom', 'pydicom', 'tifffile'}"
    code = f"import sys, leukoscope.pipeline; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_read_is_bounded(tmp_path, pixels, monkeypatch):
    slide = open_slide(make_slide(tmp_path / "a.tif", pixels))
    monkeypatch.setattr(slide_limits, "MOST_READ_PX", 1000)
    with pytest.raises(ImageError) as caught:
        slide.read((0, 0, 100, 100))
    assert caught.value.reason == "too_large"
    slide.close()


def test_the_doctor_says_what_reads_each_format(monkeypatch):
    found = {f.topic: f for f in doctor.examine() if f.topic.startswith("slides ")}
    assert all(f.ok for f in found.values()) and "openslide-python" in found["slides .mrxs"].text
    monkeypatch.setitem(sys.modules, "openslide", None)  # as where it is not installed, or its library is missing
    lost = {f.topic: f for f in doctor.examine() if f.topic.startswith("slides ")}
    assert lost["slides .mrxs"].ok is None and "pip install 'leukoscope[slides]'" in lost["slides .mrxs"].text
    assert lost["slides .dcm"].ok


def test_planes_of_focus_of_a_dicom_slide_are_told_apart(tmp_path, pixels):
    """Two planes of 2 x 2 tiles, the sharp one second: of each place the sharper plane is read."""
    side, height = 512, 1024
    soft = np.asarray(Image.fromarray(pixels[:height, :1024]).filter(ImageFilter.GaussianBlur(6)))
    planes = [soft, pixels[:height, :1024]]
    head = Series(0.256, 0.256).image(1, ("VOLUME", "NONE"), (1024, height), tile_px=side, mm_per_px=0.00025)
    head.NumberOfFrames, head.TotalPixelMatrixFocalPlanes = 8, 2
    head.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = "0.002"
    frames = []
    for plane in planes:
        for y in (0, side):
            for x in (0, side):
                out = io.BytesIO()
                Image.fromarray(plane[y : y + side, x : x + side]).save(out, "JPEG", quality=95, subsampling=0)
                frames.append(out.getvalue())
    write_encapsulated(tmp_path / "stack.dcm", head, iter(frames), len(frames))
    slide = open_slide(tmp_path / "stack.dcm")
    assert slide.facts.n_planes == 2
    for plane, true in enumerate(planes):
        found = slide.read((100, 50, 900, 900), plane=plane)
        assert np.abs(found.astype(int) - true[50:900, 100:900]).mean() < 6
    slide.close()
    box = (0, 0, 600, 600)
    region = Region(box, box, box, None, None, slide_digest(tmp_path / "stack.dcm"))
    assert read_region(tmp_path / "stack.dcm", region)[1] == 1

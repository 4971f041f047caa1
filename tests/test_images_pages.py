"""Files of several pages: fields, planes of focus, colour planes, small copies; and pages that can't be read."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter
from test_images_quality import draw_smear

from leukoscope.errors import ImageError
from leukoscope.images import open_stored, read_image, read_pictures
from leukoscope.images.pages import ANIMATION


def found(path) -> list:
    with open_stored(path) as file:
        return list(read_pictures(file))


def blurred(pixels, radius):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


@pytest.fixture(scope="module")
def fields() -> list[np.ndarray]:
    return [draw_smear(seed=seed, height=180, width=240) for seed in range(3)]


def test_every_field_of_a_file_is_a_photograph(tmp_path, fields):
    tifffile.imwrite(tmp_path / "a.tif", np.stack(fields), photometric="rgb")
    pictures = found(tmp_path / "a.tif")
    assert [(p.pages, p.n_pages) for p in pictures] == [((0,), 3), ((1,), 3), ((2,), 3)]
    for picture, pixels in zip(pictures, fields, strict=True):
        np.testing.assert_array_equal(picture.pixels, pixels)
    assert pictures[1].notes == ("page 2 of 3",)


def test_of_planes_of_focus_the_sharpest_is_read(tmp_path, fields):
    planes = [blurred(fields[0], r) for r in (6, 3, 0, 3)] + [blurred(fields[1], r) for r in (0, 4)]
    tifffile.imwrite(tmp_path / "a.tif", np.stack(planes), photometric="rgb")
    pictures = found(tmp_path / "a.tif")
    assert [p.pages for p in pictures] == [(2,), (4,)]
    assert pictures[0].notes == ("page 3 of 6, the sharpest of 4 that show this field",)


@pytest.mark.parametrize("stated", [True, False])
def test_three_grey_pages_of_one_picture_are_its_colours(tmp_path, fields, stated):
    planes = fields[0].transpose(2, 0, 1).copy()
    how = {"imagej": True, "metadata": {"axes": "CYX"}} if stated else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", planes, **how)
    (picture,) = found(tmp_path / "a.tif")
    assert picture.pages == (0, 1, 2)
    np.testing.assert_array_equal(picture.pixels, fields[0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", page=picture.pages), fields[0])


def test_three_grey_planes_of_focus_are_no_colours(tmp_path, fields):
    planes = np.stack([blurred(fields[0], r)[..., 1] for r in (3, 0, 3)])
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
    assert [p.pages for p in found(tmp_path / "a.tif")] == [(1,)]


@pytest.mark.parametrize("marked", [True, False])
def test_a_small_copy_is_not_counted_beside_its_picture(tmp_path, fields, marked):
    small = np.asarray(Image.fromarray(fields[0]).resize((60, 45)))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(small, photometric="rgb", subfiletype=int(marked))
        file.write(fields[0], photometric="rgb")
    (picture,) = found(tmp_path / "a.tif")
    assert picture.pages == (1,)


def test_a_page_that_can_not_be_read_is_one_of_the_pictures(tmp_path, fields):
    tifffile.imwrite(tmp_path / "a.tif", np.stack(fields[:2]), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        entry = file.pages[1].tags["Compression"]
        at = entry.valueoffset
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[at : at + 2] = (34887).to_bytes(2, "little")  # a codec that Pillow lacks
    (tmp_path / "a.tif").write_bytes(data)
    first, second = found(tmp_path / "a.tif")
    assert first.pixels is not None and second.pixels is None
    assert (second.pages, second.error.reason) == ((1,), "unsupported")


@pytest.mark.parametrize(
    "how",
    [{"description": "Aperio Image Library v11"}, {"extratags": [(65420, "I", 1, 1, True)]}, {"software": "PHILIPS"}],
)
def test_a_scanners_file_is_a_slide_whatever_its_name(tmp_path, fields, how):
    tifffile.imwrite(tmp_path / "a.tif", fields[0], photometric="rgb", metadata=None, **how)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.reason == "slide"


def test_channels_without_a_colour_and_raw_files_are_refused(tmp_path, fields):
    four = np.dstack([fields[0], fields[0][..., :1]]).transpose(2, 0, 1).copy()
    tifffile.imwrite(tmp_path / "four.tif", four, photometric="minisblack", planarconfig="separate")
    tifffile.imwrite(tmp_path / "thumb.nef", fields[0][:40, :60], photometric="rgb")
    for name in ("four.tif", "thumb.nef"):
        with pytest.raises(ImageError) as caught:
            read_image(tmp_path / name)
        assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_of_an_animation_the_first_picture_is_read_and_the_others_are_named(tmp_path, fields, suffix):
    first, *others = (Image.fromarray(pixels) for pixels in fields)
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others)
    first.save(tmp_path / f"b{suffix}")
    (animation,), (still,) = found(tmp_path / f"a{suffix}"), found(tmp_path / f"b{suffix}")
    assert ANIMATION in animation.notes and ANIMATION not in still.notes
    assert animation.pixels.size == still.pixels.size == first.size

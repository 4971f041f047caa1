"""Reading photographs: every format and kind of pixel, turned and with metadata; fields and folders."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from data.make_images import HEIGHT, WIDTH, corner_colours, encoded, png, png_chunk, reason_of
from PIL import Image

from leukoscope.errors import InputError
from leukoscope.images import list_images, mislabelled, open_stored, pages, read_field, read_image, read_pictures
from leukoscope.types import FieldKey


@pytest.fixture
def rgb() -> np.ndarray:
    return corner_colours()


# Formats and kinds of pixels


@pytest.mark.parametrize("suffix, options", [
    (".png", {}), (".bmp", {}), (".tif", {}), (".tif", {"compression": "tiff_lzw"}),
    (".tif", {"compression": "tiff_adobe_deflate"}), (".tif", {"compression": "packbits"}),
])  # fmt: skip
def test_lossless_formats_give_the_same_pixels(tmp_path, rgb, suffix, options):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(rgb).save(path, **options)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, rgb)


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpeg_is_what_pillow_decodes(tmp_path, rgb, options):
    path = tmp_path / "a.jpg"
    Image.fromarray(rgb).save(path, **options)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


def test_a_picture_larger_than_one_band_is_copied_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1003, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), pixels)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)},
                                     {"tile": (16, 16), "compression": "zlib"}, {"bigtiff": True}])  # fmt: skip
def test_tiff_layouts(tmp_path, rgb, photometric, bits, byteorder, options):
    """Strips and tiles, plain and compressed, 8 and 16 bits, both byte orders, BigTIFF; 16 bits: the high byte."""
    pixels = rgb if photometric == "rgb" else rgb[..., 1]
    stored = pixels if bits == 8 else pixels.astype(np.uint16) * 256 + 77
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, byteorder=byteorder, **options)
    if byteorder == ">" and "bigtiff" in options:
        assert reason_of(tmp_path / "a.tif") == "unsupported"
        return
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


def test_planar_tiff(tmp_path, rgb):
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgb)


def test_pages_of_a_tiff(tmp_path, rgb):
    path = tmp_path / "a.tif"
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb), Image.fromarray(rgb[:20])]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert pages(path) == 3
    np.testing.assert_array_equal(read_image(path), rgb)
    np.testing.assert_array_equal(read_image(path, page=1), 255 - rgb)
    np.testing.assert_array_equal(read_image(path, page=2), rgb[:20])
    assert reason_of(path, page=3) == "missing"
    assert reason_of(path, page=2, max_pixels=1199) == "too_large"


def test_a_later_page_is_held_to_the_limit_too(tmp_path, rgb):
    path = tmp_path / "a.tif"
    Image.fromarray(rgb[:8, :8]).save(path, save_all=True, append_images=[Image.fromarray(rgb)])
    assert read_image(path, max_pixels=100).shape == (8, 8, 3)
    assert reason_of(path, page=1, max_pixels=100) == "too_large"


def test_other_formats_have_one_page(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert pages(tmp_path / "a.png") == 1
    assert reason_of(tmp_path / "a.png", page=1) == "missing"


def test_sixteen_bit_png(tmp_path, rgb):
    """Grey and RGB: the high byte of each sample, not Pillow's clipping at 255."""
    gray = rgb[..., 1].astype(np.uint16) * 256 + 255
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.repeat(rgb[..., 1:2], 3, 2))
    big = np.zeros((HEIGHT, 1 + WIDTH * 6), np.uint8)  # filter byte 0, then samples of two bytes
    big[:, 1::2] = rgb.reshape(HEIGHT, -1)
    data = png(WIDTH, HEIGHT, png_chunk(b"IDAT", zlib.compress(big.tobytes())), depth=16)
    (tmp_path / "rgb.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), rgb)


def test_twelve_bit_tiff(tmp_path):
    """12-bit samples fill the low bits: the high eight of the twelve are kept."""
    values = np.array([[0, 16, 4095, 2048]], np.uint16)
    packed = bytes([0x00, 0x00, 0x10, 0xFF, 0xF8, 0x00])
    tags = [(256, 3, 1, 4), (257, 3, 1, 1), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 6)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<I", 14) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], values >> 4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_laid_on_white(tmp_path, rgb, suffix):
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:10], alpha[10:20] = 0, 128
    Image.fromarray(np.concatenate([rgb, alpha], 2)).save(tmp_path / f"a{suffix}")
    share = alpha / 255.0
    expected = rgb * share + 255 * (1 - share)
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}"), expected, atol=1)


def test_transparent_colour_and_palette(tmp_path, rgb):
    flat = np.full_like(rgb, (10, 20, 30))
    flat[5:] = (200, 100, 50)
    Image.fromarray(flat).save(tmp_path / "key.png", transparency=(10, 20, 30))
    palette = Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    palette.save(tmp_path / "plain.png")
    on_white = np.where((flat == (10, 20, 30)).all(2, keepdims=True), 255, flat)
    np.testing.assert_array_equal(read_image(tmp_path / "key.png"), on_white)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), on_white)
    np.testing.assert_array_equal(read_image(tmp_path / "plain.png"), flat)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit(tmp_path, rgb, suffix):
    bits = rgb[..., 0] > 100
    Image.fromarray(bits).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), np.repeat(bits[..., None], 3, 2) * np.uint8(255))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path, rgb, suffix):
    flat = np.full_like(rgb, (200, 120, 140))
    Image.fromarray(flat).convert("CMYK").save(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}"), flat, atol=3)


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_samples_without_a_known_range_are_refused(tmp_path, rgb, mode):
    image = Image.new(mode, (8, 8))
    image.save(tmp_path / "a.tif")
    assert reason_of(tmp_path / "a.tif") == "unsupported"


# Orientation and metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientation(tmp_path, rgb, orientation, suffix):
    """The stored array and the tag give the upright picture (EXIF 2.32: where row 0 and column 0 are)."""
    upright = rgb
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
              6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x010F] = "camera"
    exif[0x0112] = orientation
    options = {".tif": {"tiffinfo": exif}, ".jpg": {"exif": exif, "quality": 100, "subsampling": 0}}
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.ascontiguousarray(stored[orientation])).save(path, **options.get(suffix, {"exif": exif}))
    np.testing.assert_allclose(read_image(path).astype(int), upright, atol=3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"XX*\0" + bytes(9),
                                  b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0"])  # fmt: skip
def test_broken_exif_does_not_cost_the_picture(tmp_path, rgb, exif):
    data = encoded(rgb, "JPEG")
    block = b"Exif\0\0" + exif
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    (tmp_path / "plain.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "plain.jpg"))


def test_no_metadata_reaches_the_decoder(rgb):
    """Names in comments, EXIF, XMP and text chunks are cut away before Pillow sees the bytes."""
    from leukoscope.images.container import strip_metadata

    secret = b"Jane Doe 1970-01-01"
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    jpeg = encoded(rgb, "JPEG", exif=exif, comment=secret, xmp=secret)
    text = png_chunk(b"tEXt", b"Author\0" + secret)
    whole = encoded(rgb, "PNG", exif=exif)
    data = {"JPEG": jpeg, "PNG": whole[:33] + text + whole[33:]}
    for image_format, content in data.items():
        assert secret in content
        assert secret not in strip_metadata(content, image_format).data


def test_only_pixels_come_back(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.tif", description="Jane Doe")
    pixels = read_image(tmp_path / "a.tif")
    assert type(pixels) is np.ndarray
    np.testing.assert_array_equal(pixels, rgb)


# Files that are wrong


# Fields and folders


def test_read_field(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    key = FieldKey("f", "s", "p", "c", "blood")
    field = read_field(tmp_path / "a.png", key, um_per_px=0.1)
    assert field.key == key and field.um_per_px == 0.1
    np.testing.assert_array_equal(field.pixels, rgb)


def test_list_images(tmp_path):
    for name in (
        "b.JPG",
        "a.png",
        "deep/er/c.tif",
        ".hidden.png",
        ".thumbs/d.png",
        "notes.txt",
        "slide.svs",
        "odd.dat",
        "raw.cr2",
        "IMG0001",
        "text",
        "BMW",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes({"IMG0001": b"\xff\xd8\xff\xe0", "BMW": b"BMW " * 50}.get(name, b"x"))
    names = [p.relative_to(tmp_path).as_posix() for p in list_images([tmp_path])]
    assert names == ["IMG0001", "a.png", "b.JPG", "deep/er/c.tif", "raw.cr2", "slide.svs"]
    assert list_images([tmp_path / "odd.dat", tmp_path / "a.png", tmp_path / "a.png"]) == [
        tmp_path / "a.png",
        tmp_path / "odd.dat",
    ]
    assert list_images(str(tmp_path)) == list_images([tmp_path])


def test_list_images_finds_nothing(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        list_images([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no images found"):
        list_images([tmp_path])
    with pytest.raises(InputError, match="no images found"):
        list_images([])


@pytest.mark.parametrize(("suffix", "image_format"), [(".webp", "WEBP"), (".jp2", "JPEG2000"), (".gif", "GIF")])
def test_further_formats(tmp_path, suffix, image_format):
    plain = np.full((40, 60, 3), (200, 180, 190), np.uint8)
    Image.fromarray(plain).save(tmp_path / f"a{suffix}", image_format)
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}"), plain, atol=3)
    assert mislabelled(tmp_path / f"a{suffix}") is None


def test_a_film_behind_a_photograph_is_left_out(tmp_path, rgb):
    """Phones put one there; by chance its bytes look like thousands of scans."""
    data = encoded(rgb, "JPEG")
    (tmp_path / "a.jpg").write_bytes(data + b"MotionPhoto_Data" + b"\xff\xda" * 500)
    (tmp_path / "b.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))


@pytest.mark.parametrize("used", [10, 12, 14])
@pytest.mark.parametrize("kind", ["png", "tif", "planar", "grey"])
def test_samples_that_fill_a_part_of_sixteen_bits(tmp_path, rgb, kind, used):
    bright = rgb | 0x80  # as the background of a smear
    wide = bright.astype(np.uint16) << (used - 8) | 1
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    if kind == "png":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
        path.write_bytes(png(wide.shape[1], wide.shape[0], png_chunk(b"IDAT", zlib.compress(rows)), depth=16))
    elif kind == "tif":
        tifffile.imwrite(path, wide, photometric="rgb")
    elif kind == "planar":
        tifffile.imwrite(path, wide.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(path, wide[..., 1], photometric="minisblack")
    expected = np.repeat(bright[..., 1:2], 3, 2) if kind == "grey" else bright
    np.testing.assert_array_equal(read_image(path), expected)
    with open_stored(path) as file:
        (picture,) = read_pictures(file)
    assert picture.notes == (f"its 16-bit samples fill {used} bits",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_in_planes(tmp_path, rgb, order):
    """Pillow alone reads garbage from them."""
    wide = (rgb.astype(np.uint16) * 257).transpose(2, 0, 1).copy()
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb", planarconfig="separate", byteorder=order)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgb)


def test_transparency_that_hides_all_is_left_out(tmp_path, rgb):
    Image.fromarray(np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)

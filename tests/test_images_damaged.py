"""Photographs that can't be read: each gives one listed reason, and nothing hangs or escapes."""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from data.make_images import REASONS, corner_colours, encoded, png, png_chunk, reason_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leukoscope.errors import ImageError
from leukoscope.images import mislabelled, pages, read_image


@pytest.fixture
def rgb() -> np.ndarray:
    return corner_colours()


def test_missing_empty_and_no_image(tmp_path):
    assert reason_of(tmp_path / "nowhere.jpg") == "missing"
    assert reason_of("null\0byte.jpg") == "missing"
    (tmp_path / "empty.png").write_bytes(b"")
    assert reason_of(tmp_path / "empty.png") == "empty"
    (tmp_path / "text.jpg").write_text("patient,count\n")
    assert reason_of(tmp_path / "text.jpg") == "not_an_image"
    assert reason_of(tmp_path) == "not_an_image"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason_of(tmp_path / "pipe.jpg") == "not_an_image"


@pytest.mark.parametrize(
    ("name", "start", "reason", "words"),
    [
        ("a.jpg", b"\0\0\1\0", "unsupported", "icon is not read here; save it as PNG or TIFF"),
        ("a.jpg", b"8BPS\0\1", "unsupported", "Photoshop is not read"),
        ("a.jxl", b"\xff\x0a", "unsupported", "JPEG XL"),
        ("a.dcm", b"\0" * 128 + b"DICM", "unsupported", "export its pictures as PNG or TIFF"),
        ("a.nef", b"MM", "unsupported", "develop it to TIFF"),
        ("a.jpg", b"\0\0\0\x18ftyphevc", "unsupported", "pip install"),
        ("a.jpg", b"\xff\xd8\xff\xf7\x00\x0b\x08", "unsupported", "JPEG-LS"),
        ("a.jpg", b"\xff\xd8\xff\xc1\x00\x0b\x0c", "unsupported", "12-bit JPEG"),
        ("a.svs", b"II*\0", "slide", "leukoscope[slides]"),
        ("a.mrxs", b"\xff\xd8\xff", "slide", "leukoscope[slides]"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path, monkeypatch, name, start, reason, words):
    monkeypatch.setitem(sys.modules, "pi_heif.as_plugin", None)  # as where the extra is not installed
    (tmp_path / name).write_bytes(start + bytes(500))
    with pytest.raises(ImageError, match=re.escape(words)) as caught:
        read_image(tmp_path / name)
    assert caught.value.reason == reason


def test_permission_and_a_failing_drive_are_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    for number, reason in ((errno.EACCES, "no_permission"), (errno.EIO, "read_error"), (errno.ENOENT, "missing")):

        def refuse(path, *_how, number=number, **_more):
            raise OSError(number, os.strerror(number), str(path))

        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refuse)
            assert reason_of(tmp_path / "a.jpg") == reason


def test_mislabelled_but_readable(tmp_path, rgb):
    (tmp_path / "a.jpg").write_bytes(encoded(rgb, "PNG"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), rgb)
    assert mislabelled(tmp_path / "a.jpg") == "a .jpg file that holds PNG"
    (tmp_path / "b.PNG").write_bytes(encoded(rgb, "PNG"))
    assert mislabelled(tmp_path / "b.PNG") is None
    with pytest.raises(ImageError, match="nowhere"):
        mislabelled(tmp_path / "nowhere.png")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated(tmp_path, rgb, image_format, share):
    data = encoded(np.tile(rgb, (4, 4, 1)), image_format)
    (tmp_path / "a.img").write_bytes(data[: int(len(data) * share)])
    assert reason_of(tmp_path / "a.img") == "truncated"


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiff_cut_off_before_its_directory(tmp_path, rgb, bigtiff):
    """Written last, as by libtiff, the directory is the first thing to be lost."""
    path = tmp_path / "a.tif"
    data = encoded(rgb, "TIFF", compression="tiff_lzw", big_tiff=bigtiff)
    assert int.from_bytes(data[8:16] if bigtiff else data[4:8], "little") > 1000
    for n_bytes in (10, 1000):
        path.write_bytes(data[:n_bytes])
        assert reason_of(path) == "truncated"


def test_a_flipped_bit_in_png_pixels_is_noticed(tmp_path, rgb):
    """In a stored (uncompressed) block, where nothing but a checksum can tell."""
    data = bytearray(encoded(rgb, "PNG", compress_level=0))
    data[-2000] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    assert reason_of(tmp_path / "a.png") == "damaged"


def test_png_without_a_chunk_where_one_should_be(tmp_path, rgb):
    data = encoded(rgb, "PNG")
    (tmp_path / "a.png").write_bytes(data[:33] + bytes(50) + data[33:])
    assert reason_of(tmp_path / "a.png") == "damaged"


def test_sizes_over_the_limit_are_refused_from_the_header(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=2400).shape == (40, 60, 3)
    assert reason_of(tmp_path / "a.png", max_pixels=2399) == "too_large"
    (tmp_path / "bomb.png").write_bytes(png(50_000, 50_000, png_chunk(b"IDAT", zlib.compress(bytes(10_000_000)))))
    assert reason_of(tmp_path / "bomb.png") == "too_large"


def test_headers_that_no_such_file_can_fill(tmp_path, rgb):
    """Under the limit, yet far more pixels than the bytes can hold: nothing is allocated for them."""
    (tmp_path / "a.png").write_bytes(png(12_000, 12_000, png_chunk(b"IDAT", zlib.compress(bytes(999)))))
    assert reason_of(tmp_path / "a.png") == "truncated"
    data = bytearray(encoded(rgb, "JPEG"))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 12_000, 12_000)
    (tmp_path / "a.jpg").write_bytes(data)
    assert reason_of(tmp_path / "a.jpg") == "truncated"


def test_a_flat_photograph_is_not_taken_for_a_lie(tmp_path):
    """The most compressible pictures there are stay readable."""
    flat = Image.new("1", (6000, 6000), 1)
    flat.save(tmp_path / "a.png", optimize=True)
    assert read_image(tmp_path / "a.png").shape == (6000, 6000, 3)
    Image.new("L", (4000, 4000), 255).save(tmp_path / "a.jpg", quality=1, optimize=True, progressive=True)
    assert read_image(tmp_path / "a.jpg").shape == (4000, 4000, 3)


def test_endless_scans_and_endless_text(tmp_path, rgb):
    data = encoded(rgb, "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:-2] + data[last:-2] * 500 + b"\xff\xd9")
    assert reason_of(tmp_path / "a.jpg") == "too_large"
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    whole = encoded(rgb, "PNG")
    (tmp_path / "a.png").write_bytes(whole[:33] + text * 5 + whole[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


def test_a_tiff_whose_directories_go_round_in_circles(tmp_path, rgb):
    data = bytearray(encoded(rgb, "TIFF"))
    at = int.from_bytes(data[4:8], "little")
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[end : end + 4] = data[4:8]
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgb)
    assert pages(tmp_path / "a.tif") == 1


def test_pillow_warnings_stay_inside_in_every_thread(tmp_path, rgb):
    """A TIFF tag past the file's end makes Pillow warn; the filters are as before once all threads are done."""
    data = bytearray(encoded(rgb, "TIFF", software="x" * 100))
    at = int.from_bytes(data[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == 305:
            data[entry + 8 : entry + 12] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.tif").write_bytes(data)
    before, failed = list(warnings.filters), []

    def read() -> None:
        try:
            for _ in range(10):
                np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), rgb)
        except (Warning, ImageError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert list(warnings.filters) == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["JPEG", "PNG", "BMP", "TIFF"]), st.data())
def test_any_damage_gives_pixels_or_a_listed_reason(tmp_path, rgb, image_format, data):
    content = bytearray(encoded(rgb, image_format))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    path = tmp_path / "a.img"
    path.write_bytes(content)
    try:
        pixels = read_image(path, max_pixels=1_000_000)
    except ImageError as error:
        assert error.reason in REASONS
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size

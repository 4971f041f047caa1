"""Pictures of fields beside a report: a JPEG's pixels are copied, and nothing else of the file comes out."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukoscope.images.container import shared_jpeg
from leukoscope.report.pictures import FieldViews, field_view

NAME = b"Smith-Jones"


def jpeg(size: tuple[int, int] = (64, 48), mode: str = "RGB", **how) -> bytes:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x * 3 % 256, y * 5 % 256, (x + y) % 256], 2).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", quality=85, **how)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def with_names(data: bytes) -> bytes:
    """A JPEG with a name wherever a file can hold one: headers, thumbnails, comments, and behind the picture."""
    jfif = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1" + bytes((4, 1)) + NAME + b"!")
    jfxx = segment(0xE0, b"JFXX\0\x13" + NAME)
    more = [segment(marker, NAME) for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE)]
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + NAME)
    assert data[2:4] == b"\xff\xe0"
    rest = data[4 + int.from_bytes(data[4:6], "big") :]
    return data[:2] + jfif + jfxx + b"".join(more) + adobe + rest + NAME


@pytest.mark.parametrize(
    "how", [{}, {"progressive": True}, {"subsampling": 0}, {"mode": "L"}, {"restart_marker_rows": 1}]
)
def test_a_shared_jpeg_holds_the_same_pixels_and_no_names(how):
    data = with_names(jpeg(**how))
    shared = shared_jpeg(data)
    assert NAME in data and NAME not in shared.data
    assert (shared.width, shared.height) == (64, 48)
    with Image.open(io.BytesIO(shared.data)) as once, Image.open(io.BytesIO(data)) as before:
        assert not once.info.get("comment") and not once.getexif()
        assert np.array_equal(np.asarray(once), np.asarray(before))


def test_what_cannot_be_vouched_for_is_not_handed_on():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = jpeg()
    end = data.index(b"\xff\xda")
    in_scans = data[:-2] + segment(0xFE, NAME) + b"\xff\xd9"
    for odd in (
        jpeg(exif=turned.tobytes()),
        jpeg(mode="CMYK"),
        data[:-2],
        in_scans,
        data[:end] + segment(0xDC, b"\0\x30") + data[end:],
        b"no JPEG",
        data[:100],
    ):
        assert shared_jpeg(odd) is None


def entry(path: Path, width: int, height: int) -> dict:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": str(path), "sha256": digest, "width": width, "height": height}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def shown(view) -> bytes:
    return base64.b64decode(view.small.removeprefix("data:image/jpeg;base64,"))


def test_a_field_is_copied_or_made_anew(tmp_path):
    photograph = tmp_path / "a.jpg"
    photograph.write_bytes(with_names(jpeg((200, 150))))
    view = field_view(entry(photograph, 200, 150), tmp_path / "fields", "1.jpg")
    copied = (tmp_path / "fields" / "1.jpg").read_bytes()
    assert view.full == "1.jpg" and copied == shown(view) == shared_jpeg(photograph.read_bytes()).data

    photograph.write_bytes(jpeg((1200, 400)))  # wider than a page shows it
    view = field_view(entry(photograph, 1200, 400), tmp_path / "fields", "2.jpg")
    assert (tmp_path / "fields" / "2.jpg").read_bytes() == shared_jpeg(photograph.read_bytes()).data
    assert Image.open(io.BytesIO(shown(view))).size == (900, 300)

    turned = Image.Exif()
    turned[0x0112] = 6
    photograph.write_bytes(jpeg((200, 150), exif=turned.tobytes()))
    field_view(entry(photograph, 150, 200), tmp_path / "fields", "3.jpg")
    assert size_of(tmp_path / "fields" / "3.jpg") == (150, 200)


def test_fields_come_in_order_and_those_that_are_gone_say_so(tmp_path):
    fields = {}
    for number in range(30):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg((40 + number, 30)))
        fields[number] = entry(path, 40 + number, 30)
    order = [n for n in range(29, -1, -1) if n % 2]
    (tmp_path / "7.jpg").unlink()
    with FieldViews(fields, order, tmp_path / "fields") as views:
        for number in order:
            view = views.view(number)
            if number == 7:
                assert view.full is None and "missing" in view.problem
            else:
                assert size_of(tmp_path / "fields" / view.full) == (40 + number, 30)
    assert len(list((tmp_path / "fields").iterdir())) == len(order) - 1

"""3,000 damaged images from a seed: does reading any of them crash, hang or give no listed reason?

    python -m benchmarks.hardships.damaged_images [--n 3000] [--seed 1] [--model DIR]

Each file is read in a worker process. A worker that dies is a crash, one that is silent for --limit seconds (default
20) is a hang; both are replaced and the count goes on. Then `analyze` runs over the same files, and its record is
checked for each of them. Exit code 1 when anything was counted that should be 0.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import tempfile
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import PIL
from data.make_images import REASONS
from PIL import Image

from benchmarks.harness import MODEL, Args, Rows, benchmark, option
from leukoscope.errors import ImageError
from leukoscope.images import read_image

FORMATS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "JPEG2000": ".jp2",
    "AVIF": ".avif",
    "GIF": ".gif",
}
SAVE = {
    "JPEG": ({}, {"progressive": True}, {"quality": 95, "subsampling": 0}),
    "PNG": ({}, {"compress_level": 1}),
    "BMP": ({},),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}),
    "WEBP": ({}, {"lossless": True}),
    "JPEG2000": ({}, {"irreversible": True, "quality_layers": [20]}),
    "AVIF": ({"speed": 10},),
    "GIF": ({},),
}


def make_smear(rng: np.random.Generator, height: int = 96, width: int = 128) -> Image.Image:
    """A small picture with the colours of a smear: discs of red cells and one nucleus on a pale background."""
    pixels = np.full((height, width, 3), (225, 220, 215), np.float64)
    y, x = np.mgrid[:height, :width]
    for color in [(190, 140, 150)] * 9 + [(90, 40, 130)]:
        disc = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < rng.uniform(6, 14) ** 2
        pixels[disc] = color
    return Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8))


def encode(rng: np.random.Generator, image_format: str) -> bytes:
    """One whole file of `image_format`, in one of several ways of saving, colour modes and with or without EXIF."""
    image = make_smear(rng)
    options = dict(SAVE[image_format][rng.integers(len(SAVE[image_format]))])
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "L", "1"), "BMP": ("RGB", "P", "1"),
             "TIFF": ("RGB", "L", "RGBA", "P"), "WEBP": ("RGB", "RGBA"), "JPEG2000": ("RGB", "L", "RGBA"),
             "AVIF": ("RGB", "RGBA"), "GIF": ("P", "L")}[image_format]  # fmt: skip
    mode = "RGB" if options.get("compression") == "jpeg" else modes[rng.integers(len(modes))]
    if rng.random() < 0.3 and image_format in ("JPEG", "PNG"):
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = int(rng.integers(1, 9)), "Jane Doe, ward 7"
        options["exif"] = exif.tobytes()
    out = io.BytesIO()
    image.convert(mode).save(out, image_format, **options)
    return out.getvalue()


def truncate(rng: np.random.Generator, image_format: str) -> bytes:
    data = encode(rng, image_format)
    return data[: rng.integers(1, len(data))]


def flip_bits(rng: np.random.Generator, image_format: str) -> bytes:
    """1 to 64 flipped bits, half of the times in the first 200 bytes, where the header is."""
    data = np.frombuffer(encode(rng, image_format), np.uint8).copy()
    reach = min(len(data), 200) if rng.random() < 0.5 else len(data)
    at = rng.integers(0, reach, int(2 ** rng.uniform(0, 6)))
    np.bitwise_xor.at(data, at, (1 << rng.integers(0, 8, len(at))).astype(np.uint8))
    return data.tobytes()


def overwrite(rng: np.random.Generator, image_format: str) -> bytes:
    """A run of random bytes, or of one byte, over a part of the file; or a part of it cut out."""
    data = bytearray(encode(rng, image_format))
    start = int(rng.integers(0, len(data)))
    length = int(rng.integers(1, 400))
    filling = (rng.bytes(length), bytes([rng.choice([0, 255])]) * length, b"")[rng.integers(3)]
    data[start : start + length] = filling
    return bytes(data)


def lie_about_size(rng: np.random.Generator, image_format: str) -> bytes:
    """A header that says far more pixels than there are: up to the format's limit."""
    data = bytearray(encode(rng, image_format))
    side = [int(10 ** rng.uniform(3.5, 9)) for _ in range(2)]
    if image_format == "PNG":
        data[16:24] = b"".join(min(s, 2**31 - 1).to_bytes(4, "big") for s in side)
        if rng.random() < 0.7:  # with the right checksum the lie goes further
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    elif image_format == "BMP":
        data[18:26] = b"".join(min(s, 2**31 - 1).to_bytes(4, "little") for s in side)
    elif image_format == "JPEG":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        data[at + 5 : at + 9] = b"".join(min(s, 65535).to_bytes(2, "big") for s in side)
    elif image_format == "TIFF":
        _lie_in_tiff(rng, data)
    else:  # 0xff over a few bytes of the header, where its sizes are
        for at in rng.integers(6, min(len(data), 120), 4):
            data[at : at + 3] = b"\xff\xff\xff"
    return bytes(data)


def _lie_in_tiff(rng: np.random.Generator, data: bytearray) -> None:
    """Write huge values over some of the first directory's entries: sizes, rows a strip, offsets, byte counts."""
    at = int.from_bytes(data[4:8], "little")
    n_entries = int.from_bytes(data[at : at + 2], "little")
    entries = [at + 2 + 12 * e for e in range(n_entries)]
    tags = {int.from_bytes(data[e : e + 2], "little"): e for e in entries}
    for tag in rng.permutation([256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 320])[: rng.integers(1, 4)]:
        entry = tags.get(int(tag))
        if entry is not None:
            field = 8 if rng.random() < 0.7 else 4  # the value, or how many values
            data[entry + field : entry + field + 4] = int(10 ** rng.uniform(0, 9.6)).to_bytes(4, "little")


def mislabel(rng: np.random.Generator, image_format: str) -> bytes:
    """Another format's content under this suffix: half of the times one that is read, else one that is not."""
    if rng.random() < 0.5:
        others = [f for f in FORMATS if f != image_format]
        return encode(rng, others[rng.integers(len(others))])
    out = io.BytesIO()
    make_smear(rng).save(out, ["PPM", "TGA", "ICO", "PDF"][rng.integers(4)])
    return out.getvalue()


def no_image(rng: np.random.Generator, image_format: str) -> bytes:
    """Empty, text, a web page, random bytes, or random bytes behind a true signature."""
    start = encode(rng, image_format)[: rng.integers(2, 40)]
    return (b"", b"patient,count\nA,12\n" * 40, b"<!doctype html><title>404</title>", rng.bytes(3000),
            bytes(rng.integers(0, 5000)), start + rng.bytes(5000))[rng.integers(6)]  # fmt: skip


def bomb(rng: np.random.Generator, _image_format: str) -> bytes:
    """Small files that ask for much work: endless pixel data or text in PNG, endless scans in JPEG, chunk storms."""
    kind = rng.integers(5)
    if kind == 0:
        width, height = (64, 64) if rng.random() < 0.5 else (30000, 30000)
        return _png((width, height), [(b"IDAT", zlib.compress(bytes(60_000_000), 9))])
    if kind == 1:
        text = b"Comment\0\0" + zlib.compress(bytes(60_000_000), 9)
        return _png((64, 64), [(b"zTXt", text)] * 20 + [(b"IDAT", zlib.compress(bytes(193 * 64)))])
    if kind == 2:
        return _png((64, 64), [(b"IDAT", b"")] * 20_000 + [(b"IDAT", zlib.compress(bytes(193 * 64)))])
    out = io.BytesIO()
    make_smear(rng).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    if kind == 3:
        last = data.rfind(b"\xff\xda")
        return data[:-2] + data[last:-2] * 5000 + b"\xff\xd9"
    loop = io.BytesIO()
    make_smear(rng).save(loop, "TIFF", save_all=True, append_images=[make_smear(rng)] * 3)
    tiff = bytearray(loop.getvalue())
    at = int.from_bytes(tiff[4:8], "little")
    end = at + 2 + 12 * int.from_bytes(tiff[at : at + 2], "little")
    tiff[end : end + 4] = tiff[4:8]  # the next directory is the first one, for ever
    return bytes(tiff)


def _png(size: tuple[int, int], chunks: list[tuple[bytes, bytes]]) -> bytes:
    head = b"".join(s.to_bytes(4, "big") for s in size) + b"\x08\x02\0\0\0"
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in [(b"IHDR", head), *chunks, (b"IEND", b"")]:
        parts.append(len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big"))
    return b"".join(parts)


DAMAGE = {
    "truncated": (truncate, 0.22),
    "bit-flipped": (flip_bits, 0.28),
    "overwritten": (overwrite, 0.15),
    "huge header": (lie_about_size, 0.15),
    "mislabelled": (mislabel, 0.08),
    "no image": (no_image, 0.10),
    "bomb": (bomb, 0.02),
}


def fabricate(folder: Path, n: int, seed: int) -> list[tuple[Path, str]]:
    """Write `n` files into `folder`; (path, kind of damage) of each. The same seed gives the same bytes."""
    kinds = list(DAMAGE)
    shares = np.array([share for _make, share in DAMAGE.values()])
    files = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        kind = kinds[rng.choice(len(kinds), p=shares)]
        image_format = list(FORMATS)[rng.integers(len(FORMATS))]
        path = folder / f"{i:05d}{FORMATS[image_format]}"
        path.write_bytes(DAMAGE[kind][0](rng, image_format))
        files.append((path, kind))
    return files


def _read_all(tasks, answers) -> None:
    """A worker: reads paths until None comes; answers ("ok" or the reason, seconds). Warnings are failures too."""
    warnings.simplefilter("error")
    while (path := tasks.get()) is not None:
        start = time.perf_counter()
        try:
            pixels = read_image(path)
            fine = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            outcome = "ok" if fine else f"unlisted: {pixels.dtype} {pixels.shape}"
        except ImageError as error:
            outcome = error.reason if error.reason in REASONS else f"unlisted: {error.reason}"
        except BaseException as error:  # the one place that must see everything: it counts what got out
            outcome = f"unlisted: {type(error).__name__}: {error}"
        answers.put((outcome, time.perf_counter() - start))


class _Worker:
    """A process that reads; a new one takes over when it dies or hangs."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self.tasks, self.answers = self.context.Queue(), self.context.Queue()
        self.process = self.context.Process(target=_read_all, args=(self.tasks, self.answers), daemon=True)
        self.process.start()

    def read(self, path: Path, limit: float) -> tuple[str, float]:
        self.tasks.put(path)
        start = time.perf_counter()
        while True:
            try:
                return self.answers.get(timeout=0.5)
            except multiprocessing.queues.Empty:
                seconds = time.perf_counter() - start
                dead = not self.process.is_alive()
                if dead or seconds > limit:
                    self.process.kill()
                    self._start()
                    return ("crash" if dead else "hang"), seconds

    def stop(self) -> None:
        self.tasks.put(None)
        self.process.join()


def missing_from_record(files: list[tuple[Path, str]], out: Path, model: str | None) -> int:
    """Run `analyze` over the files; how many of them its record.json does not list with a status and a reason."""
    from leukoscope.pipeline import analyze

    analyze([path for path, _kind in files], out, model=model)
    fields = {Path(f["file"]).name: f for f in json.loads((out / "record.json").read_text("utf-8"))["fields"]}
    listed = [fields.get(path.name) for path, _kind in files]
    return sum(f is None or (f["status"] == "failed" and f["reason"] not in REASONS) for f in listed)


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        files = fabricate(Path(folder), args.n, args.seed)
        worker = _Worker()
        results = [(kind, path, *worker.read(path, args.limit)) for path, kind in files]
        worker.stop()
        missing = "" if args.read_only else missing_from_record(files, Path(folder) / "out", args.model)
    bad = [r for r in results if r[2].startswith(("crash", "hang", "unlisted"))]
    for kind, path, outcome, seconds in bad:
        print(f"{path.name} ({kind}): {outcome} after {seconds:.1f} s")
    for kind in DAMAGE:
        yield _row(kind, [r for r in results if r[0] == kind])
    last = {"missing_from_record": missing, "value": len(bad) + (missing or 0), "threshold": "<= 0"}
    yield _row("all", results) | last
    return {"model": "none" if args.read_only else args.model, "seed": args.seed, "pillow": PIL.__version__}


def _row(kind: str, results: list[tuple[str, Path, str, float]]) -> dict:
    outcomes = Counter(outcome.split(":")[0] for _kind, _path, outcome, _seconds in results)
    row = {
        "damage": kind,
        "n": len(results),
        "crash": 0,
        "hang": 0,
        "unlisted": 0,
        "ok": 0,
        **dict.fromkeys(REASONS, 0),
    }
    row |= {outcome: outcomes[outcome] for outcome in row if outcome in outcomes}
    row["slowest_s"] = round(max((r[3] for r in results), default=0.0), 2)
    return row


if __name__ == "__main__":
    benchmark(
        main, option("--n", type=int, default=3000), option("--seed", type=int, default=1),
        option("--limit", type=float, default=20.0, help="seconds after which a file counts as a hang"), MODEL,
        option("--read-only", action="store_true", help="leave `analyze` out"),
    )  # fmt: skip

"""Odd pictures from a seed: is anything lost on the way, and is anything called `ok` that is no smear?

    python -m benchmarks.hardships.odd_images [--data ../shared/data] [--model blood] [--n 1000] [--seed 1]

Half of them are no stained smear at a usable scale: pages, charts, landscapes, faces, noise, and real photographs in
grey, with red and blue exchanged, or shrunk to an overview. The others are files that are almost right: pipes, devices,
folders and broken links under a picture's name, slides, raw files, pages, planes, 12 bits in 16, phones' films,
pictures without a suffix. `analyze` runs over all of them in a process of its own.

Counted: a run that ends badly or not within the limit, files that its record does not list with a status and a reason,
and `ok` on what is no smear. Writes benchmarks/results/odd_images.csv.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.hardships.damaged_images import REASONS, make_smear
from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from leukoscope.images import list_images, read_image

SETS = ("bccd/JPEGImages", "bionet/images", "draaslan/images", "pbc/train/images", "raabin/images", "jtsc/images")
MOST_OK = 0.01


def smear_of(rng: np.random.Generator, data: Path) -> np.ndarray:
    """A real photograph of any set, (H, W, 3) uint8."""
    folder = data / SETS[rng.integers(len(SETS))]
    files = list_images(folder)
    return read_image(files[rng.integers(len(files))])


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) in [0, 1] with the spectrum of natural pictures, 1 over the frequency."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = np.exp(2j * np.pi * rng.random((height, x.shape[1]))) / np.maximum(np.hypot(y, x), 1 / width)
    field = np.fft.irfft2(spectrum, s=(height, width))
    return (field - field.min()) / np.ptp(field)


def landscape(rng: np.random.Generator, data: Path) -> np.ndarray:
    """Sky over meadows, woods or sand."""
    sky, ground = (140, 180, 235), ((70, 120, 50), (40, 80, 35), (200, 170, 110))[rng.integers(3)]
    height, width = 480, 640
    above = np.arange(height)[:, None] < height * (0.4 + 0.2 * clouds(rng, 1, width))
    picture = np.where(above[..., None], sky, ground) * (0.55 + 0.6 * clouds(rng, height, width))[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def face(rng: np.random.Generator, data: Path) -> np.ndarray:
    """An oval in a skin's colour before a wall, with hair."""
    height, width = 480, 640
    y, x = np.mgrid[:height, :width]
    wall, skin, hair = rng.integers(60, 240, 3), (225, 172, 140), (60, 40, 30)
    oval = ((y - 250) / 170) ** 2 + ((x - 320) / 125) ** 2 < 1
    picture = np.where(oval[..., None], skin, wall) * (0.7 + 0.4 * clouds(rng, height, width))[..., None]
    picture[oval & (y < 160 + 30 * np.sin(x / 20))] = hair
    return picture.clip(0, 255).astype(np.uint8)


def page(rng: np.random.Generator, data: Path) -> np.ndarray:
    """Printed text on white, cream or grey, in black, blue or brown."""
    ground = ((255, 255, 255), (250, 243, 224), (225, 225, 228))[rng.integers(3)]
    ink = ((20, 20, 20), (30, 40, 120), (90, 50, 30))[rng.integers(3)]
    size = int(rng.integers(11, 26))
    image = Image.new("RGB", (800, 1000), ground)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=size)
    words = "patient ward smear count neutrophil lymphocyte 12 34 date report of the and result".split()
    for top in range(30, 960, int(1.5 * size)):
        pen.text((30, top), " ".join(rng.choice(words, 14)), fill=ink, font=font)
    return np.asarray(image)


def chart(rng: np.random.Generator, data: Path) -> np.ndarray:
    """Bars in many colours with axes."""
    image = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(image)
    for bar in range(12):
        color = tuple(int(v) for v in rng.integers(0, 256, 3))
        pen.rectangle([50 + 45 * bar, 440 - int(rng.integers(20, 400)), 85 + 45 * bar, 440], fill=color)
    pen.line([40, 20, 40, 440, 620, 440], fill="black", width=2)
    return np.asarray(image)


def noise(rng: np.random.Generator, data: Path) -> np.ndarray:
    return rng.integers(0, 256, (480, 640, 3), np.uint8)


def gradient(rng: np.random.Generator, data: Path) -> np.ndarray:
    a, b = rng.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, 640)[None, :, None]
    return np.broadcast_to(a + (b - a) * share, (480, 640, 3)).astype(np.uint8)


def grey(rng: np.random.Generator, data: Path) -> np.ndarray:
    return np.repeat(smear_of(rng, data)[..., 1:2], 3, axis=2)


def swapped(rng: np.random.Generator, data: Path) -> np.ndarray:
    return np.ascontiguousarray(smear_of(rng, data)[..., ::-1])


def overview(rng: np.random.Generator, data: Path) -> np.ndarray:
    """Sixteen fields of one set as one, each 80 to 100 px wide: red cells of 5 to 12 px."""
    files = list_images(data / SETS[rng.integers(3)])
    side = int(rng.integers(80, 101))
    parts = [Image.fromarray(read_image(files[i])).resize((side, side)) for i in rng.integers(0, len(files), 64)]
    rows = [np.concatenate([np.asarray(p) for p in parts[8 * r : 8 * r + 8]], axis=1) for r in range(8)]
    return np.concatenate(rows, axis=0)


NO_SMEAR = {f.__name__: f for f in (landscape, face, page, chart, noise, gradient, grey, swapped, overview)}


def encoded(pixels: np.ndarray | Image.Image, image_format: str, **how) -> bytes:
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, image_format, **how)
    return out.getvalue()


def odd_file(rng: np.random.Generator, stem: Path) -> tuple[str, Path]:
    """Make one file that is almost right; (what kind, its path)."""
    smear = make_smear(rng, 160, 200)
    jpeg = encoded(smear, "JPEG", quality=90)
    kinds = ("pipe", "device", "folder", "broken link", "slide", "raw", "no suffix", "film", "pages", "planes", "empty",
             "unread format", "other suffix")  # fmt: skip
    kind = kinds[rng.integers(len(kinds))]
    path = stem.with_suffix(".jpg")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(("/dev/zero", "/dev/null", "/dev/tty")[rng.integers(3)])
    elif kind == "folder":
        path.mkdir()
        path = path / "inside.png"
        path.write_bytes(encoded(smear, "PNG"))
    elif kind == "broken link":
        path.symlink_to(stem.with_suffix(".gone"))
    elif kind == "slide":
        path = stem.with_suffix((".svs", ".mrxs", ".ndpi", ".scn")[rng.integers(4)])
        path.write_bytes(encoded(smear, ("TIFF", "JPEG")[rng.integers(2)]))
    elif kind == "raw":
        path = stem.with_suffix((".nef", ".cr2", ".dng", ".czi", ".dcm")[rng.integers(5)])
        path.write_bytes(encoded(smear, "TIFF"))
    elif kind == "no suffix":
        path = stem.with_suffix("")
        path.write_bytes(jpeg)
    elif kind == "film":
        path.write_bytes(jpeg + b"MotionPhoto_Data" + rng.bytes(400_000))
    elif kind in ("pages", "planes"):
        path = stem.with_suffix(".tif")
        pages = [make_smear(rng, 160, 200) for _ in range(3)] if kind == "pages" else list(smear.split())
        path.write_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "unread format":
        path = stem.with_suffix((".ico", ".ppm", ".tga", ".psd", ".jxl", ".heic")[rng.integers(6)])
        path.write_bytes(rng.bytes(int(rng.integers(1, 5000))))
    else:
        path = stem.with_suffix((".png", ".tif", ".jfif", ".bmp")[rng.integers(4)])
        path.write_bytes(encoded(smear, ("WEBP", "GIF", "JPEG2000", "PNG")[rng.integers(4)]))
    return kind, path


def fabricate(folder: Path, n: int, seed: int, data: Path) -> list[tuple[str, Path]]:
    """(kind, path) of `n` pictures; the same seed gives the same."""
    made, names = [], list(NO_SMEAR)
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        stem = folder / f"p{number % 7}" / f"{number:05d}"
        stem.parent.mkdir(exist_ok=True)
        if number % 2:
            made.append(odd_file(rng, stem))
        else:
            kind = names[number // 2 % len(names)]
            path = stem.with_suffix(".png")
            Image.fromarray(NO_SMEAR[kind](rng, data)).save(path, compress_level=1)
            made.append((kind, path))
    return made


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "in"
        folder.mkdir()
        made = fabricate(folder, args.n, args.seed, args.data)
        command = [sys.executable, "-m", "leukoscope", "analyze", str(folder), "--out", f"{work}/out"]
        done = subprocess.run(
            [*command, "--model", args.model], capture_output=True, text=True, timeout=args.limit * args.n, check=False
        )
        if done.returncode or "Traceback" in done.stderr:
            print(done.stderr[-2000:])
            raise SystemExit(1)
        fields: dict[str, list[dict]] = {}
        for field in json.loads((Path(work) / "out" / "record.json").read_text("utf-8"))["fields"]:
            fields.setdefault(field["file"], []).append(field)
    rows = []
    for kind in dict.fromkeys(kind for kind, _path in made):
        listed = [fields.get(path.as_posix(), []) for k, path in made if k == kind]
        rows.append(_row(kind, listed))
    strange = [fields.get(path.as_posix(), []) for kind, path in made if kind in NO_SMEAR]
    ok = sum(f["status"] == "ok" for found in strange for f in found) / len(strange)
    missing = sum(row["missing"] for row in rows)
    rows.append({"set": "all", "measure": "missing from the record", "value": missing, "threshold": "<= 0"})
    rows.append(
        {"set": "no smear", "measure": "share with status ok", "value": round(ok, 4), "threshold": f"<= {MOST_OK}"}
    )
    yield from rows
    return {"pictures": args.n, "seed": args.seed}


def _row(kind: str, listed: list[list[dict]]) -> dict:
    """How the pictures of one kind came out; `missing`: without an entry, or failed without a listed reason."""
    statuses = Counter(f["status"] for found in listed for f in found)
    missing = sum(
        not found or any(f["status"] == "failed" and f["reason"] not in REASONS for f in found) for found in listed
    )
    reasons = Counter(r for found in listed for f in found for r in (f["reason"] or "").split(", ") if r)
    said = " ".join(f"{reason}:{number}" for reason, number in reasons.most_common())
    share = round(statuses["ok"] / max(statuses.total(), 1), 4)
    counts = {status: statuses[status] for status in ("ok", "poor", "failed")}
    return {
        "set": kind,
        "measure": "share with status ok",
        "value": share,
        "n": len(listed),
        **counts,
        "missing": missing,
        "reasons": said,
    }


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL, option("--n", type=int, default=1000), option("--seed", type=int, default=1),
        option("--limit", type=float, default=10.0, help="seconds a picture after which the run hangs"),
    )  # fmt: skip

"""Pictures over HTTP: contact sheets, single cells, tiles of photographs; and photographs that come back by upload."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from leukoscope.errors import ImageError
from leukoscope.files import sync_folder
from leukoscope.images import read_image
from leukoscope.web.pages import room_of, visit
from leukoscope.web.pictures import Missing
from leukoscope.web.room import NotFound, reading_by_key
from leukoscope.web.sessions import check_form_token, page_reader
from leukoscope.web.store import tables as t
from leukoscope.web.store.projection import CellState, states

router = APIRouter(include_in_schema=False)
__all__ = ["Missing", "router"]
KEEP = {"cache-control": "private, max-age=604800, immutable"}  # of pictures that never change
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"))
CHUNK = 1 << 20
MOST_FILES = 200


def _cells(request: Request, key: str):
    who, room = visit(request)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)
        return reading, room.cells.get(connection, reading.patient_id)


@router.get("/r/{key}/sheet/{number}.jpg")
def show_sheet(request: Request, key: str, number: int) -> Response:
    _, cells = _cells(request, key)
    jpeg = room_of(request).pictures.sheet(cells, number)
    if jpeg is None:
        raise NotFound("no such sheet")
    return Response(jpeg, media_type="image/jpeg", headers=KEEP)


@router.get("/r/{key}/cell/{cell_id}.jpg")
def show_cell(request: Request, key: str, cell_id: int) -> Response:
    """One cell as photographed, with what lies around it."""
    reading, cells = _cells(request, key)
    room = room_of(request)
    with room.store.reading() as connection:
        state = states(connection, reading.id, [cell_id]).get(cell_id, CellState())
        row = cells.row_of(cell_id)
        if row is not None:
            field, box = int(cells.field[row]), state.box or tuple(cells.boxes[row])
        else:
            from leukoscope.web.cells import added_cells

            added = [a for a in added_cells(connection, cells, {cell_id: state}) if state.seq or state.reader_id]
            if not added:
                raise NotFound("no such cell")
            field, box = added[0].field, added[0].box
    jpeg = room.pictures.cell(cells, field, box)
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})


@router.get("/like/{cell_id}.jpg")
def show_like(request: Request, cell_id: int) -> Response:
    """The thumbnail of any patient's cell: what "more like this" found."""
    page_reader(request)
    room = room_of(request)
    with room.store.reading() as connection:
        query = select(t.cell.c.patient_id).where(t.cell.c.id == cell_id, t.cell.c.reading_id.is_(None))
        patient = connection.execute(query).scalar() if 0 < cell_id < 2**53 else None
        if patient is None:
            raise NotFound("no such cell")
        cells = room.cells.get(connection, patient)
    return Response(room.pictures.thumb(cells, cells.row_of(cell_id)), media_type="image/jpeg", headers=KEEP)


@router.get("/r/{key}/f/{number}/tile/{scale}/{x}_{y}.jpg")
def show_tile(request: Request, key: str, number: int, scale: int, x: int, y: int) -> Response:
    """A tile of a photograph at 1/scale of its size."""
    return _tile(request, key, room_of(request).pictures.field_tile, (number, scale, x, y), most=11)


@router.get("/r/{key}/s/{number}/tile/{scale}/{x}_{y}.jpg")
def show_slide_tile(request: Request, key: str, number: int, scale: int, x: int, y: int) -> Response:
    """A tile of the slide that a field is a region of, at 1/scale of its size."""
    return _tile(request, key, room_of(request).pictures.slide_tile, (number, scale, x, y), most=15)


def _tile(request: Request, key: str, cut: Callable, place: tuple[int, int, int, int], *, most: int) -> Response:
    """What `cut` gives for a place (number of the field, scale, x, y), scales 1 to 2^most."""
    _, cells = _cells(request, key)
    number, scale, x, y = place
    is_there = 0 <= number < len(cells.fields) and scale in {1 << n for n in range(most + 1)} and min(x, y) >= 0
    jpeg = cut(cells, *place) if is_there else None
    if jpeg is None:
        raise NotFound("no such tile")
    return Response(jpeg, media_type="image/jpeg", headers=KEEP)


@router.post("/r/{key}/photographs")
def take_photographs(
    request: Request, key: str, files: list[UploadFile], form_token: str = Form("")
) -> RedirectResponse:
    """Photographs that moved: each is kept only if its digest is one of those missing and `read_image` can read it."""
    check_form_token(page_reader(request), form_token)
    reading, _ = _cells(request, key)
    room = room_of(request)
    wanted = {field.sha256 for field in room.photographs.missing(reading.patient_id)}
    folder = room.store.folder
    taken = []
    for file in files[:MOST_FILES]:
        suffix = Path(file.filename or "").suffix.lower()
        if suffix in SUFFIXES:
            taken += _keep(file, suffix, wanted=wanted, folder=folder)
    room.photographs.put(taken)
    return RedirectResponse(f"/r/{key}", 303)


def _keep(file: UploadFile, suffix: str, *, wanted: set[str], folder: Path) -> list[tuple[str, Path]]:
    """[(digest, where it was put)], or [] for a file that nobody asked for. Its own name is not used."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            while chunk := file.file.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() not in wanted:
            return []
        read_image(partial)
        target = folder / (digest.hexdigest() + suffix)
        partial.replace(target)
        sync_folder(folder)
        return [(digest.hexdigest(), target)]
    except ImageError:
        return []
    finally:
        partial.unlink(missing_ok=True)

"""The field viewer's pages: one photograph, or a whole slide with the cells of all of its regions."""

import json

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from leukoscope.web.pages import reading_page, visit
from leukoscope.web.pictures import Missing
from leukoscope.web.room import NotFound, reading_by_key
from leukoscope.web.store import tables as t

router = APIRouter(include_in_schema=False)


@router.get("/r/{key}/f/{number}")
def show_field(request: Request, key: str, number: int) -> HTMLResponse:
    who, room = visit(request)
    with room.store.reading() as connection:
        cells = room.cells.get(connection, reading_by_key(connection, key, who).patient_id)
    if not 0 <= number < len(cells.fields):
        raise NotFound("no such field")
    field = cells.fields[number]
    there = field.status != "failed" and room.photographs.find(field, cells.run.folder) is not None
    with room.store.reading() as connection:
        query = select(t.cell.c.id, t.cell.c.contour).where(
            t.cell.c.patient_id == field.patient_id, t.cell.c.field_id == field.id, t.cell.c.contour.is_not(None)
        )
        contours = {row.id: json.loads(row.contour) for row in connection.execute(query)}
    what = f"field {number + 1}"
    return reading_page(
        request, key, "field.html", what, field=field, number=number, there=there, contours=contours, slide=None
    )


@router.get("/r/{key}/s/{number}")
def show_slide(request: Request, key: str, number: int) -> HTMLResponse:
    """The whole slide that a field is a region of, with the cells of all of its regions."""
    who, room = visit(request)
    with room.store.reading() as connection:
        cells = room.cells.get(connection, reading_by_key(connection, key, who).patient_id)
    if not 0 <= number < len(cells.fields) or cells.fields[number].region is None:
        raise NotFound("no such slide")
    field = cells.fields[number]
    try:
        wide, high = room.pictures.slide_size(cells, number)
    except Missing:
        wide = high = 0
    regions = {row: json.loads(f.region) for row, f in enumerate(cells.fields) if f.region and f.sha256 == field.sha256}
    slide = {"width": wide, "height": high, "regions": {row: [r["box"], r["core"]] for row, r in regions.items()}}
    return reading_page(
        request, key, "field.html", "slide", field=field, number=number, there=wide > 0, contours={}, slide=slide
    )

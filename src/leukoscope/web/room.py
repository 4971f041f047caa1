"""What all pages share: the store, the caches, the settings, and the rules of who may see which reading."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from leukoscope.web.cells import CellCache
from leukoscope.web.guard import Site
from leukoscope.web.neighbours import Sketches
from leukoscope.web.pictures import Pictures
from leukoscope.web.sessions import Forbidden, Who
from leukoscope.web.settings import Settings, stored_settings
from leukoscope.web.store import Store
from leukoscope.web.store import tables as t
from leukoscope.web.store.closing import two_readings
from leukoscope.web.store.patients import current_reading
from leukoscope.web.store.photographs import Photographs

_READING = select(t.reading).where(t.reading.c.key == bindparam("key"))
_PATIENT = select(t.patient).where(t.patient.c.key == bindparam("key"))


class NotFound(Exception):
    """No such patient, reading, field or cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """An open reading room. default_reader: who reads where there are no accounts."""

    store: Store
    site: Site
    cells: CellCache
    photographs: Photographs
    pictures: Pictures
    sketches: Sketches
    default_reader: int | None

    def settings(self) -> Settings:
        """The laboratory's settings as they stand."""
        return stored_settings(self.store)


def make_room(store: Store, site: Site, *, default_reader: int | None) -> Room:
    """The room around an open store."""
    photographs = Photographs(store)
    return Room(store, site, CellCache(), photographs, Pictures(photographs), Sketches(), default_reader)


def patient_by_key(connection: Connection, key: str):
    """A patient's row; NotFound."""
    row = connection.execute(_PATIENT, {"key": key}).one_or_none()
    if row is None:
        raise NotFound("no such patient")
    return row


def reading_by_key(connection: Connection, key: str, who: Who):
    """A reading that this reader may see; NotFound, or Forbidden while blind readings must not see each other."""
    row = connection.execute(_READING, {"key": key}).one_or_none()
    if row is None:
        raise NotFound("no such reading")
    first, second = two_readings(connection, row.patient_id)
    both_done = first is None or second is None or (first.state != "open" and second.state != "open")
    if not both_done and row.id in (first.id, second.id):
        mine = second.reader_id == who.reader_id
        if (row.id == second.id) != mine:
            raise Forbidden("two readers read this patient blind: each sees the other's reading when both are done")
    return row


def signed_by_version(connection: Connection, patient, version: int):
    """The row of a patient's signed version; NotFound."""
    row = connection.execute(
        select(t.signed).where(t.signed.c.patient_id == patient.id, t.signed.c.version == version)
    ).one_or_none()
    if row is None:
        raise NotFound("no such signed version")
    return row


def own_reading(connection: Connection, patient_id: int, who: Who):
    """The reading that this reader is to go on with; None where there is a choice to make.

    That is: the own second reading while it is open, else the standing one, if the reader had a hand in it, it is the
    reader's, or it is no longer open.
    """
    first, second = two_readings(connection, patient_id)
    if second is not None and second.reader_id == who.reader_id and second.state == "open":
        return second
    standing = current_reading(connection, patient_id)
    if standing is None or standing.reader_id == who.reader_id or standing.state == "signed":
        return standing
    if second is not None:
        return standing
    hand = select(func.count()).where(t.event.c.reading_id == standing.id, t.event.c.reader_id == who.reader_id)
    return standing if connection.execute(hand).scalar() else None

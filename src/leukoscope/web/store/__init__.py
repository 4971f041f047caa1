"""The database of the reading room: an append-only log from which state, undo, audit and second readings follow."""

from leukoscope.web.store.engine import Store, open_store

__all__ = ["Store", "open_store"]

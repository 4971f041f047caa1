"""The database of the reading room: an append-only log from which state, undo, audit and second readings follow."""

from leukoscope.web.store.engine import Store, existing_store, open_store

__all__ = ["Store", "existing_store", "open_store"]

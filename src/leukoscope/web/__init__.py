"""The reading room: worklist, gallery, field viewer, sign-off. It calls the library and holds no haematology.

store/   what was opened, what was read, who may read (SQLAlchemy Core, Alembic); an append-only log and its projection
reading  counts and ratios of a patient as read, through `count` and `pipeline.ratios`
app      the pages and the API
"""

"""Runs, patients, cells, readings, their log and its projection, accounts."""

from leukoscope.web.store.migrations import run_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_statements("v0001_first.sql")

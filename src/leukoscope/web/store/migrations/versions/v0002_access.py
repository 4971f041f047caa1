"""Who saw what, and what was handed over."""

from leukoscope.web.store.migrations import run_statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_statements("v0002_access.sql")

"""Alembic migrations of the reading room's database; `engine.open_store` runs them."""

from importlib.resources import files

from alembic import op

_WORDS = {
    "sqlite": {"id": "INTEGER", "ref": "INTEGER", "bytes": "BLOB"},  # it counts up by itself only in INTEGER
    "postgresql": {"id": "BIGSERIAL", "ref": "BIGINT", "bytes": "BYTEA"},
}


def run_statements(name: str) -> None:
    """Run the SQL of a file beside the versions, in the words of the database that is migrated."""
    text = (files("leukoscope.web.store.migrations") / "versions" / name).read_text("utf-8")
    for statement in text.format(**_WORDS[op.get_bind().dialect.name]).split(";\n"):
        if statement.strip():
            op.execute(statement)

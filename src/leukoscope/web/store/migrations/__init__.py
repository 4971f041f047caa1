"""Alembic migrations of the reading room's database; `engine.open_store` runs them."""

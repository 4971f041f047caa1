"""The pages of a photograph's file that a field was read from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("field", sa.Column("pages", sa.Text(), nullable=True))

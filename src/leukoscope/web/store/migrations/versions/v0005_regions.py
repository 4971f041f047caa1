"""Fields that are regions of a slide, and cells that a field shows and another counts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("field", sa.Column("region", sa.Text(), nullable=True))
    op.add_column("field", sa.Column("elsewhere", sa.Text(), nullable=True))

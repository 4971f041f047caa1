"""Who saw what, and what was handed over."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "access",
        sa.Column("id", _ID, nullable=False),
        sa.Column("patient_id", _ID, nullable=False),
        sa.Column("reader_id", _ID, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"],
            ["patient.id"],
        ),
        sa.ForeignKeyConstraint(
            ["reader_id"],
            ["reader.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_access_patient_id", "access", ["patient_id"], unique=False)
    op.create_table(
        "sent",
        sa.Column("id", _ID, nullable=False),
        sa.Column("signed_id", _ID, nullable=False),
        sa.Column("reader_id", _ID, nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["reader_id"],
            ["reader.id"],
        ),
        sa.ForeignKeyConstraint(
            ["signed_id"],
            ["signed.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sent_signed_id", "sent", ["signed_id"], unique=False)

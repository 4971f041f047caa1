"""Lists read no record: each patient's blast ratio beside it, what each signed record teaches apart from it, and one
index that holds all that a worklist sorts by."""

import json

import sqlalchemy as sa
from alembic import op

from leukoscope.web.store.closing import reviewed_counts

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OLD = ("patient_by_urgency", "patient_by_state", "patient_by_change")


def upgrade() -> None:
    op.add_column("patient", sa.Column("ratio", sa.Text(), nullable=True))
    for name in _OLD:
        op.drop_index(name, "patient")
    listed = ["state", "urgency", "share", "id", "n_cells", "changed_at", "label"]
    op.create_index("patient_listed", "patient", listed, unique=False)
    _fill_ratios(op.get_bind())
    op.create_table(
        "taught",
        sa.Column("signed_id", _ID, nullable=False),
        sa.Column("patient_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["signed_id"], ["signed.id"]),
        sa.PrimaryKeyConstraint("signed_id"),
    )
    _fill_taught(op.get_bind())


def _fill_ratios(connection: sa.Connection) -> None:
    patient = sa.table("patient", sa.column("id"), sa.column("entry"), sa.column("ratio"))
    for row in connection.execute(sa.select(patient.c.id, patient.c.entry)).all():
        ratio = next((r for r in json.loads(row.entry)["ratios"] if r["name"] == "blasts"), None)
        if ratio is not None:
            change = sa.update(patient).where(patient.c.id == row.id).values(ratio=json.dumps(ratio))
            connection.execute(change)


def _fill_taught(connection: sa.Connection) -> None:
    signed = sa.table("signed", *(sa.column(name) for name in ("id", "patient_id", "version", "record")))
    taught = sa.table("taught", *(sa.column(name) for name in ("signed_id", "patient_id", "version", "counts")))
    for number in connection.execute(sa.select(signed.c.id)).scalars().all():  # records are large: one at a time
        row = connection.execute(sa.select(signed).where(signed.c.id == number)).one()
        entry = {"signed_id": row.id, "patient_id": row.patient_id, "version": row.version}
        counts = json.dumps(reviewed_counts(json.loads(row.record)))
        connection.execute(sa.insert(taught).values(entry | {"counts": counts}))

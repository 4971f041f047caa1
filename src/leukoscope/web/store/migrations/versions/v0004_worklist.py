"""Lists read no record: each patient's blast ratio beside it, what a signed record teaches beside that, and one index
that holds all that a worklist sorts by."""

import json

import sqlalchemy as sa
from alembic import op

from leukoscope.web.store.closing import reviewed_counts

revision = "0004"
down_revision = "0003"

_OLD = ("patient_by_urgency", "patient_by_state", "patient_by_change")


def upgrade() -> None:
    op.add_column("patient", sa.Column("ratio", sa.Text(), nullable=True))
    for name in _OLD:
        op.drop_index(name, "patient")
    listed = ["state", "urgency", "share", "id", "n_cells", "changed_at", "label"]
    op.create_index("patient_listed", "patient", listed, unique=False)
    _fill_ratios(op.get_bind())
    op.add_column("signed", sa.Column("reviewed", sa.Text(), nullable=True))
    _fill_reviewed(op.get_bind())


def _fill_ratios(connection: sa.Connection) -> None:
    patient = sa.table("patient", sa.column("id"), sa.column("entry"), sa.column("ratio"))
    for row in connection.execute(sa.select(patient.c.id, patient.c.entry)).all():
        ratio = next((r for r in json.loads(row.entry)["ratios"] if r["name"] == "blasts"), None)
        if ratio is not None:
            change = sa.update(patient).where(patient.c.id == row.id).values(ratio=json.dumps(ratio))
            connection.execute(change)


def _fill_reviewed(connection: sa.Connection) -> None:
    signed = sa.table("signed", sa.column("id"), sa.column("record"), sa.column("reviewed"))
    for number in connection.execute(sa.select(signed.c.id)).scalars().all():  # records are large: one at a time
        record = connection.execute(sa.select(signed.c.record).where(signed.c.id == number)).scalar_one()
        text = json.dumps(reviewed_counts(json.loads(record)))
        connection.execute(sa.update(signed).where(signed.c.id == number).values(reviewed=text))

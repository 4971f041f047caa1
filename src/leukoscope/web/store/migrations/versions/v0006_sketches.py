"""A sketch of each cell's features, short enough to look through all cells of a database."""

import numpy as np
import sqlalchemy as sa
from alembic import op

from leukoscope.web.store.sketches import sketch

revision = "0006"
down_revision = "0005"
BATCH = 2000


def upgrade() -> None:
    op.add_column("feature", sa.Column("sketch", sa.LargeBinary(), nullable=True))
    feature = sa.table("feature", *(sa.column(name) for name in ("cell_id", "vector", "sketch")))
    connection, last = op.get_bind(), 0
    change = sa.update(feature).where(feature.c.cell_id == sa.bindparam("cell")).values(sketch=sa.bindparam("short"))
    while True:
        query = sa.select(feature.c.cell_id, feature.c.vector).where(feature.c.cell_id > last)
        rows = connection.execute(query.order_by(feature.c.cell_id).limit(BATCH)).all()
        for row in rows:
            short = sketch(np.frombuffer(row.vector, np.float16)[None])[0]
            connection.execute(change, {"cell": row.cell_id, "short": short.tobytes()})
        if not rows:
            return
        last = rows[-1].cell_id

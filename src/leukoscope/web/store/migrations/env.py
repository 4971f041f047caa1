"""What Alembic runs a migration in: the connection that `engine.open_store` gives."""

from alembic import context

from leukoscope.web.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

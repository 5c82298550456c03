"""Alembic's entry: runs in the transaction that `coreo_api.migrate` has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()

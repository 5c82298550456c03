"""The database's schema, in steps."""

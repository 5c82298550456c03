"""PostgreSQL as both HTTP services use it: transactions bound to a team, and migrations."""

from coreo_shared.db.database import Database

__all__ = ["Database"]

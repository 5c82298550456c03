"""Chunks: a unit's findings as they come from a worker, stored encrypted, once."""

"""Custody of results: how long they are kept, their deletion, and who touched them. The results service does it."""

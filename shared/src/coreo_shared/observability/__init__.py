"""Logs: snake_case events as JSON lines with bound context."""

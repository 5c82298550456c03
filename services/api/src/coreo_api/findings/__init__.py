"""Findings of a run, read from the results service."""

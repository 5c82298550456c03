"""Exclusion of runs from backups that were made already."""

"""Backups: one encrypted object for each run, a signed log of them, and the ledger of their keys, kept apart."""

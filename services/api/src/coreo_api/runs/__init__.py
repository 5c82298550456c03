"""Runs as customers see them: requested here, mirrored from the results service's ledger."""

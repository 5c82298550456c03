"""Suppressions: failed findings that a team has decided to live with are shown as such, from when it decides so."""

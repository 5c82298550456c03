"""Crypto helpers that more than one service needs."""

"""Severities that teams give rules."""

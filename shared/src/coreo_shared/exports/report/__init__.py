"""A report in one HTML file for people: no request leaves it, and it can be read without its script."""

from coreo_shared.exports.report.page import write

__all__ = ["write"]

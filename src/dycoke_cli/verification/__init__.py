"""Checks on real weights that an attached method changes nothing but what it should."""

SCHEMA = "dycoke.verify/1"
"""Of the report."""

"""Verification of the compression engine against stock `generate()`, on real weights."""

SCHEMA = "dycoke.verify/1"
"""Schema of the report."""

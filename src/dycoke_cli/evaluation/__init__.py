"""Accuracy benchmarks of compression methods on labelled video questions."""

SCHEMA = "dycoke.eval/1"
"""Of the report."""

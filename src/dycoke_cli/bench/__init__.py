"""Benchmark of methods on the user's videos and machine: timings, and changed answers."""

SCHEMA = "dycoke.bench/1"
"""Schema of the report."""

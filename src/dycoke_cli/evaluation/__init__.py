"""Benchmarks: questions with known answers, put to a model under several methods, and counted."""

SCHEMA = "dycoke.eval/1"
"""Of the report."""

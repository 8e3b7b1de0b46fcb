"""Checks on real weights: what is attached to a model changes nothing but what it is meant to."""

SCHEMA = "dycoke.verify/1"
"""Of the report."""

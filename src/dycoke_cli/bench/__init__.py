"""Methods timed on a user's own videos and machine, and their answers beside the baseline's."""

SCHEMA = "dycoke.bench/1"
"""Of the report."""

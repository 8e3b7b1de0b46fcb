"""Rules of KV pruning compared on a text decoder: which facts of a text each rule still finds."""

SCHEMA = "dycoke.decode-rules/1"
"""Schema of the report."""

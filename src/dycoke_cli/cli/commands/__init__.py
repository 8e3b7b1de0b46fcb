"""A file per command: its arguments, its JSON object and its table."""

"""The soak: many clips, a loaded server, and commands that are killed again and again."""

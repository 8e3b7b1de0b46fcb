"""The soak: many clips, some of them broken, and a run that is killed again and again."""

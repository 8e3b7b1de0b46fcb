"""From answers to the rows of a table."""

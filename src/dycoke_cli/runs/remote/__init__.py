"""A model on a server, which answers in place of one here (`--server`)."""

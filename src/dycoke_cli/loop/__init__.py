"""The loop that answers: one engine for every command, route and worker."""

"""What this project measures of itself: a module a command, `python -m benchmarks.NAME`."""

"""One file a method, and nothing else; what several share is in `compression/`."""

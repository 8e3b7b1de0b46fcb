"""What answers once in a process of its own; run as modules by the Python of an environment."""

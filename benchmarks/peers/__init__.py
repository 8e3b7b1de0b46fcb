"""Other programs on the same checkpoint and clip, each in an environment of its own."""

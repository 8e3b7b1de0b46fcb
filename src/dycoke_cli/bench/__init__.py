"""Times of methods on the user's videos and machine, and changed answers."""

SCHEMA = "dycoke.bench/1"

"""What `tests.fuzz` is made of: broken input of every kind, and what becomes of each piece."""

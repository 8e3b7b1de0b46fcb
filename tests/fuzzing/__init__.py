"""What `make fuzz` is made of: broken input of every kind, and what becomes of each piece of it."""

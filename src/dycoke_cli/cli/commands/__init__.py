"""Commands, one module each: arguments, JSON document and table."""

"""Command-line interface: parses, calls the library, renders. Heavy imports are lazy."""

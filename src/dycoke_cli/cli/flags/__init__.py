"""Flags: derived from dataclass fields, or declared once if there is no such field."""

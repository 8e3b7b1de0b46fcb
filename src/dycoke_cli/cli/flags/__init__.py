"""Flags: read off the fields of dataclasses, or declared once where no field has them."""

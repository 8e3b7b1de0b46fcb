"""Escaping of untrusted text (from models, files and users) for a terminal."""

from __future__ import annotations

from dycoke_cli.unicode import shown

__all__ = ["one_line", "shown"]


def one_line(text: str) -> str:
    """Escape like `shown`, and collapse white space to single spaces."""
    return shown(" ".join(text.split()))

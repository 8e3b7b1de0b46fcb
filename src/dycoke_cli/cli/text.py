"""Text from a model, a file or a user, escaped for display: never interpreted, always visible."""

from __future__ import annotations

from dycoke_cli.unicode import shown

__all__ = ["one_line", "shown"]


def one_line(text: str) -> str:
    """Like `shown`, with any run of white space as one space."""
    return shown(" ".join(text.split()))

"""Who wants to know how an evaluation goes."""

from __future__ import annotations


class Listener:
    """Hears how an evaluation goes; this one keeps it to itself."""

    def warning(self, sentence: str) -> None:
        """Something that a person should know now."""

    def progress(self, done: int, total: int) -> None:
        """So many answers of all are there; first called before the first one is asked."""

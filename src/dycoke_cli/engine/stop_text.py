"""The end of an answer at a text (`stop` of OpenAI's protocol).

Stock `StopStringCriteria` compares the strings of a vocabulary's tokens. It prepares a table of all
of them, and misses a text over the space that some tokenizers put between two tokens. Here it is
the decoded text that counts, which a client reads.
"""

from __future__ import annotations

from collections.abc import Sequence


def end_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of some texts begins in a text; None where there is none."""
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, default=None)


class UntilStop:
    """Text that comes in pieces, up to the first stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._ended = False

    def add(self, piece: str, last: bool = False) -> str:
        """The text that is certain to be part of the answer, now that this piece has come.

        Args:
            last: whether none comes behind it.
        """
        if self._ended:
            return ""
        text = self._held + piece
        if (end := end_at(text, self._stops)) is not None:
            self._ended = True
            return text[:end]
        kept = len(text) if last else len(text) - self._begun(text)
        self._held = text[kept:]
        return text[:kept]

    def _begun(self, text: str) -> int:
        """Characters at the end of a text that may be the beginning of a stop text."""
        longest = max(map(len, self._stops), default=0) - 1
        return next(
            (
                length
                for length in range(min(longest, len(text)), 0, -1)
                if any(stop.startswith(text[-length:]) for stop in self._stops)
            ),
            0,
        )

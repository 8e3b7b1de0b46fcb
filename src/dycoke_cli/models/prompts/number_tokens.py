"""Tokens of a vocabulary that a number can be written with, and the numbers that texts begin with.

A number is an optional minus, digits (with or without commas between thousands) and an optional
decimal fraction: "3", "-0.5", "1,250.75".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from dycoke_cli.errors import UsageError

_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})"
_NUMBER = re.compile(rf"-?{_WHOLE}(?:\.[0-9]{{1,6}})?")
# What a number can begin with; the longest one bounds what is read.
_BEGINNING = re.compile(
    rf"-?(?:{_WHOLE}(?:\.[0-9]{{0,6}})?|[0-9]{{1,3}}(?:,[0-9]{{3}}){{0,3}},[0-9]{{0,2}})?"
)
# A space before it is "▁" or "Ġ" in a vocabulary; "##" continues a word.
_PIECE = re.compile(r"(?:▁|Ġ| |##)?[-0-9.,]*")
LONGEST = 32
"""Tokens of a number at most: each of the 27 characters, and white space before them."""


class NumberTokens:
    """The part of a vocabulary that numbers are written with."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab().items()
        self._ids = sorted(token for piece, token in vocabulary if _PIECE.fullmatch(piece))
        if not any(number_of(self.text((token,))) for token in self._ids):
            raise UsageError(
                "the model's vocabulary has no digits, so it can't answer with a number"
            )

    def text(self, ids: Sequence[int]) -> str:
        """Text of the tokens at the beginning of an answer, without white space before it."""
        return str(self._texts([ids])[0])

    def next(self, ids: Sequence[int]) -> list[int]:
        """Tokens with which the text of `ids` stays a number or the beginning of one."""
        texts = self._texts([(*ids, token) for token in self._ids])
        return [
            token
            for token, text in zip(self._ids, texts, strict=True)
            # White space alone is only before all of it.
            if _BEGINNING.fullmatch(text) and (text or not ids)
        ]

    def _texts(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        decoded = self._tokenizer.batch_decode(
            [[*ids] for ids in sequences], clean_up_tokenization_spaces=False
        )
        return [text.lstrip() for text in decoded]


@lru_cache(maxsize=2)  # of a large vocabulary a tenth of a second
def number_tokens(tokenizer: Any) -> NumberTokens:
    """The number tokens of a tokenizer.

    Raises: see the class.
    """
    return NumberTokens(tokenizer)


def number_of(text: str) -> str | None:
    """The longest number that a text begins with, as in "3" of "3.00 m"; None if there is none."""
    if (match := _NUMBER.match(text)) is None:
        return None
    value = Decimal(match[0].replace(",", ""))
    return format(value.normalize() + 0, "f")

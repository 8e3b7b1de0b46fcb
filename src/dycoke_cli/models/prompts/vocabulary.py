"""Words of a question outside a model's vocabulary, for models without a byte-level tokenizer."""

from __future__ import annotations

import unicodedata
from typing import Any

# Words that carry no topic: function words, and words for the video itself.
_FUNCTION_WORDS = frozenset(
    """
    a about after again all also am an and another any appear appears are as at be been before being
    both but by can could describe detail did didn displayed do does doesn doing don each either
    else end every explain few find finally first for from get give go goes going had happen
    happened happening happens has have having he her here him his how i if in into is isn it its
    just last later less list look looks many may me might more most much must my name next no not
    now of off on once one only or other our out over own please s same say see seen she should show
    showing shown shows so some start still such summarise summarize summary t tell than that the
    their them then there these they thing things this those through to too under until up us very
    visible was wasn we were what when where which while who whom whose why will with would yes you
    your
    clip clips film footage frame frames image images movie photo picture pictures recording scene
    scenes video videos
    """.split()  # noqa: SIM905 (a list would take a line for each)
)


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Distinct words of a text that contain an unknown token, in order.

    Args:
        text: plain text.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return []
    words = _words(text)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    return [word for word, own in zip(words, ids, strict=True) if unknown in own]


def mostly_unknown(text: str, unknown: list[str]) -> bool:
    """Whether at least half of a text's content words are unknown.

    Args:
        text: plain text.
    """
    content = [word for word in _words(text) if word.casefold() not in _FUNCTION_WORDS]
    return 0 < len(content) <= 2 * sum(word in unknown for word in content)


def _words(text: str) -> list[str]:
    """Distinct words, split at spaces and punctuation."""
    marks = {ord(mark): " " for mark in set(text) if unicodedata.category(mark).startswith("P")}
    return list(dict.fromkeys(text.translate(marks).split()))

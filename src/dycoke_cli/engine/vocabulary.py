"""What a vocabulary can write: words of a question outside it, numbers token by token, and options.

Tokens of numbers and of a typed question's options are those that would stand behind the prompt.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.prompts.chat import check_plain, conversation_of, render


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Distinct words of a text that contain an unknown token, in order."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return []
    words = _words(text)
    ids = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    return [word for word, own in zip(words, ids, strict=True) if unknown in own]


def _words(text: str) -> list[str]:
    """Distinct words, split at spaces and punctuation."""
    marks = {ord(mark): " " for mark in set(text) if unicodedata.category(mark).startswith("P")}
    return list(dict.fromkeys(text.translate(marks).split()))


MOST_TOKENS = 256
"""Most tokens of all options together, which bounds the memory of their logits."""


@dataclass(frozen=True)
class OptionTokens:
    """The options in one spelling."""

    texts: tuple[str, ...]  # as they are scored
    ids: tuple[tuple[int, ...], ...]  # token ids of each, one or more

    @property
    def nested(self) -> bool:
        """Whether an option begins with another one, as 10 does with 1."""
        # Sorted, an option comes right before those that begin with it.
        ordered = sorted(self.ids)
        return any(b[: len(a)] == a for a, b in pairwise(ordered))


@lru_cache(maxsize=4)  # the questions of a batch have the same options
def option_tokens(processor: Any, options: tuple[str, ...]) -> tuple[OptionTokens, ...]:
    """The options as given, and with capital first letters where those are other tokens."""
    tokenizer = processor.tokenizer
    check_plain(processor, "", [("", option) for option in options])
    if unknown := unknown_words(tokenizer, " ".join(options)):
        raise UsageError(f"not in the model's vocabulary: {', '.join(unknown)}; use other options")
    prompt, lead = _before_answer(processor)
    given = _encoded(tokenizer, prompt, lead, options)
    if sum(map(len, given.ids)) > MOST_TOKENS:
        raise UsageError(
            f"the options are {sum(map(len, given.ids))} tokens together, and at most "
            f"{MOST_TOKENS} can be scored; shorten them"
        )
    seen: dict[tuple[int, ...], str] = {}
    for text, ids in zip(given.texts, given.ids, strict=True):
        if (other := seen.setdefault(ids, text)) != text:
            raise UsageError(f"the options {other!r} and {text!r} are the same tokens to the model")
    capital = [_capital(option[0]) + option[1:] for option in options]
    spelled = _encoded(tokenizer, prompt, lead, capital)
    # Two options that differ in this letter alone stay as they are.
    if spelled.ids == given.ids or len({*spelled.ids}) < len(spelled.ids):
        return (given,)
    return given, spelled


def _capital(letter: str) -> str:
    """The capital of a letter; the letter where that is two, as of ß."""
    return letter.upper() if len(letter.upper()) == 1 else letter


def _encoded(tokenizer: Any, prompt: str, lead: str, options: Sequence[str]) -> OptionTokens:
    before = tokenizer(prompt)["input_ids"]
    ids = []
    for option in options:
        whole = tokenizer(prompt + lead + option)["input_ids"]
        own = whole[len(before) :]
        # Where the prompt's last token and the option's first one merge, it is encoded alone.
        if whole[: len(before)] != before:
            own = tokenizer(lead + option, add_special_tokens=False)["input_ids"]
        if not own:
            raise UsageError(f"the option {option!a} has no token of the model; leave it out")
        ids.append((_first_word(tokenizer, option.split()[0], own[0]), *own[1:]))
    return OptionTokens(tuple(options), tuple(ids))


def _first_word(tokenizer: Any, word: str, token: int) -> int:
    """The token of an answer's first word, which a tokenizer that lower-cases texts can't give."""
    # The piece may have a mark of the blank before it, which a continued word lacks.
    piece = tokenizer.convert_ids_to_tokens(token)
    own = tokenizer.convert_tokens_to_ids(piece.replace(word.lower(), word))
    lowered = tokenizer.decode([token]) == word.lower() != word
    return own if lowered and own not in (None, tokenizer.unk_token_id) else token


def _before_answer(processor: Any) -> tuple[str, str]:
    """A prompt without a video, and the white space that the template puts before its answer."""
    conversation = conversation_of("?", (), 0, "")
    answer = {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}
    try:
        prompt = render(processor, conversation)
        answered = render(processor, [*conversation, answer], answered=True)
    except ModelError:  # no template, or none for a prompt without a video
        return "", ""
    behind = answered.removeprefix(prompt)
    answer_text = behind.lstrip()
    # A template that writes earlier answers in another way tells nothing.
    regular = answered.startswith(prompt) and answer_text.startswith("yes")
    return (prompt, behind[: len(behind) - len(answer_text)]) if regular else ("", "")

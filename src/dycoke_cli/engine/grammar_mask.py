"""Constrained decoding: a mask over the vocabulary for each sequence of a batch, by llguidance.

An answer's grammar advances with each of its tokens (`FormedAnswer.add`). Before each step its mask
has the tokens that keep the text within the form; all others get a logit of -inf (`GrammarMask`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from transformers import LogitsProcessor

from dycoke_cli.engine.structured_output import StructuredOutput, matcher, one_line
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel

_OF_JSON = '{}[]":,-.0123456789'


class FormedAnswer:
    """One answer while it is generated: where it is in its form."""

    def __init__(self, vocabulary: Any, form: StructuredOutput) -> None:
        self._matcher = matcher(vocabulary, form.grammar())
        self._check()

    def copy(self) -> Self:
        """Another answer, from here on."""
        other = copy(self)
        other._matcher = self._matcher.deep_copy()
        return other

    def add(self, token: int) -> bool:
        """Add a token; returns whether the answer ends with it."""
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    @property
    def is_complete(self) -> bool:
        """Whether the text so far is a whole answer."""
        return self._matcher.is_accepting() or self._matcher.is_stopped()

    def allowed(self) -> np.ndarray:
        """One bit per token, `[W]`, uint8, the lowest first: whether it may be next."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return mask

    def _check(self) -> None:
        # With an error the library allows the end of the answer, whatever is missing.
        if self._matcher.is_error():
            raise UsageError(
                "the form of the answer can't be followed any further: "
                f"{one_line(self._matcher.get_error())}; simplify it"
            )


class GrammarMask(LogitsProcessor):
    """Rules out the tokens that would leave the form of each answer."""

    def __init__(self, answers: Sequence[FormedAnswer]) -> None:
        self._answers = answers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits `[B, V]`, with -inf for what an answer can't go on with.

        Of answers that have ended, whose next tokens are padding, the end is allowed.
        """
        packed = np.stack([answer.allowed() for answer in self._answers])
        # Logits behind the vocabulary are padding of the output layer: zeros, so ruled out.
        bits = np.unpackbits(packed, axis=1, count=scores.shape[1], bitorder="little")
        ruled_out = torch.from_numpy(bits == 0).to(scores.device)
        return scores.masked_fill(ruled_out, -torch.inf)


def vocabulary_of(loaded: LoadedModel, form: StructuredOutput, ends: set[int]) -> Any:
    """The model's vocabulary as the library reads it: the bytes of each token."""
    tokenizer = loaded.processor.tokenizer
    # Without one, a special token tells the library where the answer may end.
    own = tuple(sorted(end for end in ends if end < len(tokenizer)))
    try:
        return _read_vocabulary(tokenizer, own or tuple(tokenizer.all_special_ids[:1]))
    except ValueError as error:
        if form.kind == "json" and (lacking := _lacking(tokenizer)):
            raise UsageError(
                f"{loaded.name} can't write JSON: its vocabulary lacks {' '.join(lacking)}; choose "
                "another --model"
            ) from error
        raise UsageError(
            f"{loaded.name} can't be held to a form: its vocabulary isn't one of bytes; choose "
            "another --model"
        ) from error


@lru_cache(maxsize=2)  # of a large vocabulary a second
def _read_vocabulary(tokenizer: Any, ends: tuple[int, ...]) -> Any:
    from llguidance import LLTokenizer
    from llguidance.hf import from_tokenizer

    found = from_tokenizer(tokenizer, eos_token=[*ends])
    if not _lacking(tokenizer):
        return found
    # It writes characters that it doesn't read.
    writer: Any = _Writer(found, ends[0])
    return LLTokenizer(writer, eos_token=[*ends])


class _Writer:
    """A vocabulary as the library reads it, in which a text has the longest tokens there are.

    The library asks for the tokens of what a form leaves no choice about.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, found: Any, end: int) -> None:
        tokens = range(found.vocab_size)
        self.eos_token_id, self._found = end, found
        self.tokens = [found.decode_bytes([token]) for token in tokens]
        self.special_token_ids = [*filter(found.is_special_token, tokens)]

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._found.greedy_tokenize(text))


def _lacking(tokenizer: Any) -> list[str]:
    """Characters of JSON that aren't in a vocabulary."""
    unknown = tokenizer.unk_token_id
    ids = tokenizer([*_OF_JSON], add_special_tokens=False)["input_ids"]
    pairs = zip(_OF_JSON, ids, strict=True)
    return [character for character, own in pairs if not own or unknown in own]

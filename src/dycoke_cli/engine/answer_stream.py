"""The answers of a batch while they are generated: words, ends and times of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria, TextStreamer
from transformers.generation.streamers import BaseStreamer

from dycoke_cli.answer.answer import Answer
from dycoke_cli.engine.grammar_mask import FormedAnswer
from dycoke_cli.engine.stop_text import UntilStop, end_at


@dataclass(frozen=True)
class Receiver:
    """Callbacks of one answer of a batch."""

    # called with each stretch of finished text, or None
    on_text: Callable[[str], None] | None = None
    # called with the answer as soon as it ends: of a batch, others may go on
    on_answer: Callable[[Answer], None] = lambda answer: None
    has_left: Callable[[], bool] = lambda: False  # called at each token; true ends the answer

    def receive(self, answer: Answer) -> None:
        """Take an answer that wasn't streamed."""
        if self.on_text is not None:
            self.on_text(answer.answer)
        self.on_answer(answer)


NOBODY = Receiver()
"""Receives nothing: the answers are returned all the same."""


class AnswerStream:
    """One answer of a batch while it is generated.

    Attributes:
        tokens: so far, with the end token.
        ended_s: when it ended, on the batch's clock; None before.

    Args:
        formed: where it is in its form; None for free text.
    """

    def __init__(
        self,
        tokenizer: Any,
        most_tokens: int,
        receiver: Receiver = NOBODY,
        stops: Sequence[str] = (),
        on_token: Callable[[int], None] = lambda token: None,
        formed: FormedAnswer | None = None,
    ) -> None:
        self.tokens: list[int] = []
        self.ended_s: float | None = None
        self.most_tokens = most_tokens
        self._tokenizer, self._receiver = tokenizer, receiver
        self._stops, self._on_token, self._formed = stops, on_token, formed
        # Where only parts of a text have a form, it ends as any other.
        self._whole = formed if formed is not None and formed.is_whole else None
        on_text = self._receiver.on_text
        self._words = (
            None if on_text is None else _Words(tokenizer, on_text, stops, **self._decoding)
        )

    def add(self, token: int, ends: Collection[int]) -> bool:
        """Add a token, and stream the words that it finishes; return whether it is the last one."""
        self.tokens.append(token)
        self._on_token(token)
        if self._words is not None:
            self._words.put(torch.tensor([token]))
        last = token in ends or len(self.tokens) == self.most_tokens or self._receiver.has_left()
        if self._formed is not None and token not in ends:
            last = self._formed.add(token) or last
        last = last or self._is_at_stop
        if last and self._words is not None:
            self._words.end()
        return last

    @property
    def text(self) -> str:
        """The answer without special tokens; free text has no space around.

        Space before a stop text is part of the answer, as a stream has sent it by then.
        """
        text = self._decoded()
        end = end_at(text, self._stops)
        free = text.strip() if end is None else text[:end].lstrip()
        return text if self._whole is not None else free

    def stopped(self, ends: Collection[int]) -> bool:
        """Whether it ended by itself: by an end token, a stop text, or as its form is complete."""
        complete = self._whole is not None and self._whole.is_complete
        return self.tokens[-1] in ends or complete or self._is_at_stop

    def is_cut(self, ends: Collection[int]) -> bool:
        """Whether it ended before its form was complete."""
        return self._whole is not None and not self.stopped(ends)

    @property
    def _is_at_stop(self) -> bool:
        return bool(self._stops) and end_at(self._decoded(), self._stops) is not None

    def _decoded(self) -> str:
        text: str = self._tokenizer.decode(self.tokens, skip_special_tokens=True, **self._decoding)
        return text

    @property
    def _decoding(self) -> dict[str, bool]:
        # Some tokenizers take the space out of " ,", which would change a formed text.
        return {} if self._formed is None else {"clean_up_tokenization_spaces": False}


class _Words(TextStreamer):
    """Streams the finished words of one answer."""

    def __init__(
        self,
        tokenizer: Any,
        on_text: Callable[[str], None],
        stops: Sequence[str],
        **decoding: bool,
    ) -> None:
        super().__init__(tokenizer, skip_special_tokens=True, **decoding)
        self._on_text, self._until = on_text, UntilStop(stops)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """See `TextStreamer`."""
        if text := self._until.add(text, stream_end):
            self._on_text(text)


class BatchStreamer(BaseStreamer, StoppingCriteria):
    """Streams each answer of a batch, times the first token, and ends each answer by itself.

    It is both the streamer and a stopping criterion of a `generate()` call. `generate()` pads an
    answer that has ended until the last one ends.

    Attributes:
        first_token: seconds until the first tokens, which all answers get at once; None before.

    Args:
        now: seconds on the batch's clock.
    """

    def __init__(
        self,
        now: Callable[[], float],
        answers: Sequence[AnswerStream],
        ends: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
        on_end: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.first_token: float | None = None
        self._now, self._answers, self._ends = now, answers, ends
        self._on_token, self._on_end = on_token, on_end
        self._steps = -1  # the prompt comes first
        self._prompt_length = 0

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts `[B, S]`, then one token of each answer, `[B]`, at a time; int64."""
        self._steps += 1
        if not self._steps:
            self._prompt_length = value.shape[-1]
            return
        if self._steps == 1:
            self.first_token = self._now()
        for number, (answer, token) in enumerate(zip(self._answers, value.tolist(), strict=True)):
            if answer.ended_s is None and answer.add(token, self._ends):
                answer.ended_s = self._now()
                self._on_end(number)
        if self._on_token is not None:
            self._on_token(self._steps)

    def end(self) -> None:
        """Nothing: each answer has ended by itself."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        """Whether each answer has ended: `[B]`, bool; `input_ids` is `[B, S + steps]`, int64.

        Of releases of transformers some ask before `put` gets the newest tokens, some behind it.
        """
        steps = input_ids.shape[1] - self._prompt_length
        over = [a.ended_s is not None or steps >= a.most_tokens for a in self._answers]
        return torch.tensor(over, device=input_ids.device)

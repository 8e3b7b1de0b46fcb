"""Log-probabilities of the tokens of a batch's answers, while they are generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor

from dycoke_cli.answer.answer import TokenLogprob
from dycoke_cli.engine.trace import text_pieces


@dataclass(frozen=True)
class _Step:
    """One token of an answer."""

    logprob: float  # of the token
    ids: list[int]  # of the likeliest ones
    logprobs: list[float]  # of these


class LogprobRecorder(LogitsProcessor):
    """Records each token's log-probability, before temperature, top_p, top_k and min_p."""

    def __init__(self, sequences: int, likeliest: int) -> None:
        self._likeliest = likeliest
        self._steps: list[list[_Step]] = [[] for _ in range(sequences)]
        self._latest: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: `scores[B, V]`, unchanged."""
        self._latest = scores.float().log_softmax(-1)
        return scores

    def add(self, number: int, token: int) -> None:
        """Note the token that a sequence got from the newest logits."""
        assert self._latest is not None, "a token comes after its logits"
        row = self._latest[number]
        values, ids = row.topk(min(self._likeliest, len(row)))
        step = _Step(float(row[token]), ids.tolist(), values.tolist())
        self._steps[number].append(step)

    def of(self, number: int, tokens: list[int], text: str, tokenizer: Any) -> list[TokenLogprob]:
        """The tokens of an answer."""
        found: list[TokenLogprob] = []
        length = 0
        pieces = text_pieces(tokenizer, tokens)
        for place, (piece, step) in enumerate(zip(pieces, self._steps[number], strict=False)):
            if place and length >= len(text):
                break
            before = tokens[place - 1 : place] if place else []
            others = (_text(tokenizer, before, token) for token in step.ids)
            likeliest = zip(others, step.logprobs, strict=True)
            found.append(TokenLogprob(piece, step.logprob, tuple(likeliest)))
            length += len(piece)
        return found


def _text(tokenizer: Any, before: list[int], token: int) -> str:
    """The text of a token behind another one, with the space that a tokenizer puts there."""
    behind: str = tokenizer.decode([*before, token], skip_special_tokens=False)
    lead: str = tokenizer.decode(before, skip_special_tokens=False)
    return behind.removeprefix(lead)

"""Finds the numbers that an answer would begin with, and how likely they are, by one prefill.

P(3) is the probability that a free answer starts with 3 and the number ends there: of its tokens,
and of a token behind them with which it is over. So "3", "3 stars" and "3." count for 3, and not
for 30 or 3.5. That is a distribution over all numbers, which a decoded number isn't: digit by
digit, the likeliest one needn't be found, and a constrained digit's probability says nothing of the
others.

The numbers are leaves of a tree of tokens. Each round reads those beginnings of numbers in one
forward (`prefilled`) that may still matter: a number isn't likelier than what it begins with, so
what is less than a hundredth as likely as the likeliest number is left unread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.prefilled import prefill
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.models.prompts.vocabulary import NumberTokens, number_of

_LEAST = math.log(0.01)  # of the likeliest number
_AT_ONCE = 32
_MOST_TOKENS = 256  # read behind a prompt, as of options


@dataclass(frozen=True)
class NumberScores:
    """How likely numbers are behind a prompt, the likeliest first."""

    numbers: tuple[str, ...]  # without commas and zeros that don't count
    log_probabilities: tuple[float, ...]  # that a free answer begins with each, in nats
    scored: tuple[int, ...]  # how many tokens that is of each, in its likeliest notation
    likeliest: int  # the likeliest first token of all

    @property
    def mass(self) -> float:
        """Probability that a free answer begins with one of the numbers."""
        return min(1.0, sum(map(math.exp, self.log_probabilities)))


@dataclass
class ScoredNumbers:
    """The numbers of each prompt of a batch, and what finding them took."""

    numbers: list[NumberScores]  # of each prompt
    tokens: int  # read behind each prompt
    # prefill, first_token (since the watch's start), decode: the forwards behind it
    seconds: dict[str, float]
    cache: Any  # KV cache, with what was read in it


@torch.inference_mode()
def score_numbers(
    model: Any,
    batch: Batch,
    vocabulary: NumberTokens,
    watch: Stopwatch,
    attachment: Attachment | None,
) -> ScoredNumbers:
    """Find the numbers behind prompts; see `score_options`, which it is for options.

    Args: as of `score_options`, and
        vocabulary: of the model.
    """
    prompts = prefill(model, batch, watch, attachment)
    searches = [_Search(vocabulary, first) for first in prompts.first]
    rows: list[dict[tuple[int, ...], torch.Tensor]] = [{} for _ in searches]
    tree = TokenTree(())
    while any(wanted := [search.wanted() for search in searches]):
        # All prompts are read behind alike; each uses what it wanted, as if it were alone.
        if new := sorted({*(node for nodes in wanted for node in nodes)} - {*tree.nodes}):
            tree = tree.grown(new)
            for own, read in zip(rows, prompts.read(tree, is_last=False), strict=True):
                own.update(read)
        for search, own, nodes in zip(searches, rows, wanted, strict=True):
            for node in nodes:
                search.add(node, own[node])
    numbers = [search.scores() for search in searches]
    return ScoredNumbers(numbers, len(tree.nodes), prompts.seconds, prompts.cache)


class _Search:
    """The search of one prompt: numbers found, and beginnings of numbers that weren't read.

    Args:
        first: `[V]`: log-probabilities of the answer's first token.
    """

    def __init__(self, vocabulary: NumberTokens, first: torch.Tensor) -> None:
        self._vocabulary, self._likeliest = vocabulary, int(first.argmax())
        self._found: dict[str, float] = {}
        self._tokens: dict[str, int] = {}
        self._unread: dict[tuple[int, ...], float] = {(): 0.0}
        self._read = 0
        self.add((), first)

    def wanted(self) -> list[tuple[int, ...]]:
        """The beginnings to be read next, likelier ones first; none where the search is over."""
        least = max(self._found.values(), default=-math.inf) + _LEAST
        likely = [node for node, log in self._unread.items() if log >= least]
        likely.sort(key=lambda node: (-self._unread[node], node))
        return likely[: min(_AT_ONCE, _MOST_TOKENS - self._read)]

    def add(self, node: tuple[int, ...], row: torch.Tensor) -> None:
        """Add what is behind a beginning that was wanted.

        Args:
            node: its tokens.
            row: `[V]`: log-probabilities of the next token.
        """
        before, text = self._unread.pop(node), self._vocabulary.text(node)
        self._read += bool(node)
        longer = self._vocabulary.next(node)
        for token, log in zip(longer, row[longer].tolist(), strict=True):
            if log > -math.inf:  # not suppressed
                self._unread[*node, token] = before + log
        if (number := number_of(text)) is not None:
            over = row.index_fill(0, torch.tensor(longer, dtype=torch.int64), -math.inf)
            log = before + float(over.logsumexp(0))
            self._found[number] = _log_sum((self._found.get(number, -math.inf), log))
            self._tokens.setdefault(number, len(node) + 1)

    def scores(self) -> NumberScores:
        """The numbers that were found."""
        ranked = sorted(self._found, key=lambda number: (-self._found[number], number))
        return NumberScores(
            numbers=tuple(ranked),
            log_probabilities=tuple(self._found[number] for number in ranked),
            scored=tuple(self._tokens[number] for number in ranked),
            likeliest=self._likeliest,
        )


def _log_sum(logs: Sequence[float]) -> float:
    """Logarithm of the sum of what these are logarithms of."""
    return float(torch.tensor(logs, dtype=torch.float64).logsumexp(0))

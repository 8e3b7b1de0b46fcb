"""Scores the options of a typed question: one prefill, then one forward of all their tokens.

The probability of an option is that of its whole text behind the prompt. The first tokens' come
from the prefill. The others are read behind it as a tree (`prefilled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.prefilled import Rows, prefill
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.token_options import end_tokens
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.models.prompts.option_tokens import OptionTokens


@dataclass(frozen=True)
class OptionScores:
    """How likely each option is behind a prompt."""

    spelling: OptionTokens  # of the options: the one whose first tokens are likelier together
    log_probabilities: tuple[float, ...]  # of each whole text, in nats
    scored: tuple[int, ...]  # how many tokens that is of each
    ended: bool  # whether the end of the answer is one of them: an option begins with another one
    mass: float  # probability of all first tokens together
    likeliest: int  # the likeliest first token of all

    @property
    def per_token(self) -> bool:
        """Whether scores are means over tokens, since options have different numbers of them."""
        return len(set(self.scored)) > 1

    @property
    def scores(self) -> tuple[float, ...]:
        """Log-probability of each option, per token where `per_token`."""
        if not self.per_token:
            return self.log_probabilities
        pairs = zip(self.log_probabilities, self.scored, strict=True)
        return tuple(total / tokens for total, tokens in pairs)


@dataclass
class Scored:
    """The scores of each prompt of a batch, and what scoring them took."""

    options: list[OptionScores]  # the scores of each prompt
    tokens: int  # read behind each prompt
    # prefill, first_token (since the watch's start), decode: the forward behind it
    seconds: dict[str, float]
    cache: Any  # KV cache, with the options in it


@torch.inference_mode()
def score_options(
    model: Any,
    batch: Batch,
    spellings: Sequence[OptionTokens],
    watch: Stopwatch,
    attachment: Attachment | None,
) -> Scored:
    """Score options behind prompts whose videos come with `prompts.inject_videos`.

    Args:
        attachment: in whose block this runs; None without one.
    """
    prompts = prefill(model, batch, watch, attachment)
    chosen = [max(spellings, key=partial(_mass, row)) for row in prompts.first]
    ends = sorted(end_tokens(model))
    # An option that begins with another one is at most as likely, whatever the model means.
    ended = [spelling.nested and bool(ends) for spelling in chosen]
    tree = TokenTree.of(
        ids if with_end else ids[:-1]
        for spelling, with_end in zip(chosen, ended, strict=True)
        for ids in spelling.ids
    )
    behind: list[Rows] = [{(): row} for row in prompts.first]
    if tree.nodes:
        read = prompts.read(tree, is_last=True)
        behind = [{**first, **rest} for first, rest in zip(behind, read, strict=True)]
    options = []
    for spelling, with_end, rows in zip(chosen, ended, behind, strict=True):
        sums = [_log_probability(ids, rows, ends if with_end else []) for ids in spelling.ids]
        options.append(
            OptionScores(
                spelling=spelling,
                log_probabilities=tuple(sums),
                scored=tuple(len(ids) + with_end for ids in spelling.ids),
                ended=with_end,
                mass=_mass(rows[()], spelling),
                likeliest=int(rows[()].argmax()),
            )
        )
    return Scored(options, len(tree.nodes), prompts.seconds, prompts.cache)


def _log_probability(ids: Sequence[int], rows: Rows, ends: list[int]) -> float:
    """Log-probability of a text, and of one of `ends` behind it.

    Args:
        rows: log-probabilities `[V]` of the token behind each beginning of it.
    """
    ids = tuple(ids)
    total = sum(float(rows[ids[:place]][token]) for place, token in enumerate(ids))
    return total + (float(rows[ids][ends].logsumexp(0)) if ends else 0.0)


def _mass(first: torch.Tensor, spelling: OptionTokens) -> float:
    """Probability of the first tokens of all options together, each token once."""
    tokens = sorted({ids[0] for ids in spelling.ids})
    return min(1.0, float(first[tokens].exp().sum()))

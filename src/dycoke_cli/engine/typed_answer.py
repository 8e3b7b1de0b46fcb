"""Answers of typed questions: one of the given options, with the probability of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from dycoke_cli.answer.answer import LEAST_MASS, Answer, Scoring
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generate import Generated, Stopwatch
from dycoke_cli.engine.memory.measured import kv_bytes
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.scoring import Scores, score_numbers, score_options
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.vocabulary import (
    LONGEST,
    NumberTokens,
    OptionTokens,
    number_tokens,
    option_tokens,
)


def asked_alone(loaded: LoadedModel) -> bool:
    """Whether typed questions are asked one by one: the cache of the model is a stock one."""
    config = loaded.model.get_decoder().config
    return bool(loaded.family.only_none or other_caches(config))


def check_typed(loaded: LoadedModel) -> None:
    """Check that a model reads text behind a prompt, as options are read."""
    parameters = inspect.signature(loaded.model.forward).parameters.values()
    if any(
        one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters
    ):
        raise UsageError(
            f"{loaded.name} reads pixels in each forward, so options can't be scored behind its "
            "prompt; ask without them"
        )


Scorable = Sequence[OptionTokens] | NumberTokens
"""What is scored behind prompts: the spellings of options, or the vocabulary of numbers."""


def scorable(loaded: LoadedModel, typed: TypedOptions | OpenNumber) -> Scorable:
    """What a typed question scores, in tokens of a model."""
    check_typed(loaded)
    if isinstance(typed, OpenNumber):
        return number_tokens(loaded.processor.tokenizer)
    return option_tokens(loaded.processor, typed.texts)


def longest(scored: Scorable) -> int:
    """Tokens of the longest answer."""
    if isinstance(scored, NumberTokens):
        return LONGEST
    return max(len(ids) for spelling in scored for ids in spelling.ids)


def generate_typed(
    loaded: LoadedModel,
    batch: Batch,
    what: Scorable,
    watch: Stopwatch,
    attachment: Attachment | None,
) -> tuple[list[Generated], Sequence[Scores]]:
    """Score options or numbers behind prompts, in place of `generate`.

    Args:
        attachment: in whose block this runs; None without one.
    """
    if isinstance(what, NumberTokens):
        scored = score_numbers(loaded.model, batch, what, watch, attachment)
    else:
        scored = score_options(loaded.model, batch, what, watch, attachment)
    in_all, active = kv_bytes(scored.cache)
    sequences = len(batch.input_ids)
    outputs = [
        Generated(
            tokens=torch.empty(0, dtype=torch.int64),
            text="",
            stopped=True,
            seed=None,
            seconds=dict(scored.seconds),
            kv_bytes=in_all // sequences,
            kv_active_bytes=active // sequences,
            scored=scored.tokens,
        )
        for _ in scored.scores
    ]
    return outputs, scored.scores


def with_choice(
    answer: Answer,
    typed: TypedOptions | OpenNumber,
    scores: Scores,
    tokenizer: Any,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Add the choice to an answer, and a warning where no option, or no number, is likely."""
    if isinstance(typed, OpenNumber):
        named, about = scores.texts, _NUMBERS
    else:
        named, about = typed.texts, _YES_NO if typed == TypedOptions.yes_no() else _OPTIONS
    shares = dict(zip(named, scores.probabilities, strict=True))
    choice, likeliest = max(shares, key=shares.__getitem__), tokenizer.decode([scores.likeliest])
    first, second = sorted([*shares.values(), 0.0], reverse=True)[:2]
    if on_text is not None:
        on_text(choice)
    mean = typed.mean(shares)
    return replace(
        answer,
        answer=choice,
        choice=choice,
        probabilities=shares,
        margin=first - second,
        mean=ABSENT if mean is None else mean,
        scoring=Scoring(**vars(scores) | {"likeliest": likeliest.strip()}),
        warnings=(*answer.warnings, *_unlikely(scores.mass, likeliest.strip(), about)),
    )


_OPTIONS = (
    "its first token's probability is on the options",
    "name the options in the question, as in 'Answer with yes or no.'",
)
_YES_NO = (
    "its first token's probability is on yes and no",
    "ask what yes or no answers, as in 'Is there a dog? Answer with yes or no.'",
)
_NUMBERS = "the probability is on numbers", "ask for one, as in 'Answer with a number.'"


def _unlikely(mass: float, likeliest: str, about: tuple[str, str]) -> list[str]:
    if mass >= LEAST_MASS:
        return []
    share, (what, advice) = f"{100 * mass:.0f} %" if mass >= 0.01 else "less than 1 %", about
    return [
        f"the model wanted to say something else: {share} of {what}, and it would begin with "
        f"{likeliest!r}; {advice}"
    ]

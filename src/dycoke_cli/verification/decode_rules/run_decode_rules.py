"""Run of `dycoke verify --decode-rules`, and its JSON document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

import torch

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import Amount, Count, Doc
from dycoke_cli.errors import UsageError
from dycoke_cli.verification.decode_rules import SCHEMA
from dycoke_cli.verification.decode_rules.ask_rules import (
    MAX_NEW_TOKENS,
    asked_by_all,
    check_equals_stock,
)
from dycoke_cli.verification.decode_rules.contexts import context
from dycoke_cli.verification.decode_rules.load_decoder import LoadedDecoder
from dycoke_cli.verification.decode_rules.rule_figures import RuleFigures, figures, grouped
from dycoke_cli.verification.decode_rules.rules import Rule
from dycoke_cli.verification.decode_rules.text_decoder import prompt_of
from dycoke_cli.verification.run_checks import environment
from dycoke_cli.verification.verification_report import Environment, VerifiedModel
from dycoke_cli.version import __version__

_ENOUGH = 0.5


@dataclass(frozen=True, kw_only=True)
class DecodeRulesReport:
    """What rules of KV pruning lose: the JSON object of `dycoke verify --decode-rules --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    model: VerifiedModel
    sliding_window_layers: Annotated[
        tuple[int, ...], Doc("Layers with a sliding window, which no rule prunes.")
    ]
    environment: Environment
    contexts: Annotated[Count, Doc("Texts with one fact each, the same in every run.")]
    sentences: Annotated[Count, Doc("Of each context beside the fact.")]
    prunable_tokens: Annotated[Amount, Doc("Tokens of a context that rules prune, on average.")]
    decode_steps: Annotated[Amount, Doc("Of an answer with the full cache, on average.")]
    rules: Annotated[tuple[RuleFigures, ...], Doc("The full cache first.")]
    warnings: tuple[str, ...]


@torch.inference_mode()
def compare_rules(
    loaded: LoadedDecoder,
    contexts: int,
    sentences: int,
    on_context: Callable[[int, int], None] = lambda done, total: None,
) -> DecodeRulesReport:
    """Ask for facts hidden in texts under every rule, and report what each rule loses.

    Args:
        loaded: the model.
        contexts: how many, at least one.
        sentences: of each context beside the fact.
        on_context: called with contexts done and in total.

    Raises:
        UsageError: a context is longer than the model's context length.
        ModelError: the model's attention isn't what the rules compute.
    """
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    every = [context(number, sentences) for number in range(contexts)]
    with decoder.model.device:  # the device of every tensor that is made below
        prompts = [prompt_of(tokenizer, asked) for asked in every]
        needed = max(prompt.ids.shape[1] for prompt in prompts) + MAX_NEW_TOKENS
        if decoder.context_length is not None and needed > decoder.context_length:
            raise UsageError(
                f"contexts of {sentences} sentences take {needed} tokens, and {loaded.name} has a "
                f"context length of {decoder.context_length}; give fewer --sentences"
            )
        check_equals_stock(decoder, prompts[0])
        answers = []
        for number, (asked, prompt) in enumerate(zip(every, prompts, strict=True)):
            rows = asked_by_all(decoder, tokenizer, prompt, asked.answer, number)
            answers.append([*rows])
            on_context(number + 1, contexts)
    by_rule = grouped(answers)
    found = figures(by_rule, decoder.layers, decoder.windows)
    config = decoder.model.config
    return DecodeRulesReport(
        model=VerifiedModel(
            name=loaded.name,
            revision=loaded.revision,
            family=config.model_type,
            layers=decoder.layers,
            dtype=str(decoder.model.dtype).removeprefix("torch."),
            device=str(decoder.model.device),
        ),
        sliding_window_layers=tuple(sorted(decoder.windows)),
        environment=environment(decoder.model.device),
        contexts=contexts,
        sentences=sentences,
        prunable_tokens=fmean(one.prunable.stop - one.prunable.start for one in prompts),
        decode_steps=fmean(one.steps for one in by_rule[Rule("full")]),
        rules=tuple(found),
        warnings=_warnings(found[0].facts_found.mean),
    )


def _warnings(found: float) -> tuple[str, ...]:
    """What to say of a model that finds few facts with its full cache."""
    if found >= _ENOUGH:
        return ()
    return (
        f"with its full cache the model finds {100 * found:.0f} % of the facts, so the rules can't "
        "be told apart by facts; compare the next tokens, or give another model",
    )

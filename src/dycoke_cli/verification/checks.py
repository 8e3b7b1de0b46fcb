"""The checks, in order. Each gives a step; none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.prompts import Prompt
from dycoke_cli.engine.session import Question, VideoSession, ask_together
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.verification.comparing import compared
from dycoke_cli.verification.fixed import QUESTIONS
from dycoke_cli.verification.masked import masked_run
from dycoke_cli.verification.running import Run, attached, plain
from dycoke_cli.verification.step import FAILED, OK, SKIPPED, Outcome, Step

NEW_TOKENS = 24


def checks(session: VideoSession) -> Iterator[Step]:
    """All checks of a model on a clip, one after the other.

    Args:
        session: the clip with the model; nothing was asked yet.
    """
    loaded = session.loaded
    default = DyCoke().suited(loaded.method_defaults)
    prunes = not other_caches(loaded.model.get_decoder().config)
    session.encode(Stopwatch(loaded.model.device), Method())
    prompts = [session.prompt(q, (), Method(), GenerationOptions(NEW_TOKENS))() for q in QUESTIONS]
    stock = [plain(session, question, NEW_TOKENS) for question in QUESTIONS]
    yield _against(
        "encoded in chunks, an answer is that of plain generate()",
        session,
        prompts,
        lambda prompt: attached(session, prompt, Method(), NEW_TOKENS),
        stock,
    )
    keep_all = replace(default, merge_ratio=0.0, prune_ratio=0.0, kv_prune=prunes)
    yield _against(
        "attached with everything kept, an answer is that of plain generate()",
        session,
        prompts,
        lambda prompt: attached(session, prompt, keep_all, NEW_TOKENS),
        stock,
    )
    if prunes:
        yield _pruned(session, prompts, default)
        if loaded.family.counts_tokens:
            other = "kept" if default.renumbers() else "renumbered"
            yield _pruned(session, prompts, replace(default, positions=other))
    else:
        yield Step(
            "pruned, an answer is that of the masked reference",
            SKIPPED,
            "the language model has layers that don't keep every token: it only merges",
        )
    yield _together(session, replace(default, kv_prune=prunes))


def _against(
    name: str,
    session: VideoSession,
    prompts: list[Prompt],
    run: Callable[[Prompt], Run],
    stock: list[Run],
) -> Step:
    dtype = session.loaded.model.dtype
    both = zip(prompts, stock, strict=True)
    pairs = [compared(run(prompt), theirs, dtype) for prompt, theirs in both]
    return _summed_up(name, pairs)


def _pruned(session: VideoSession, prompts: list[Prompt], method: DyCoke) -> Step:
    pairs = []
    for prompt in prompts:
        run = attached(session, prompt, method, NEW_TOKENS)
        reference = masked_run(session, prompt, run, method)
        pairs.append(compared(run, reference, session.loaded.model.dtype))
    name = f"pruned, positions {method.positions}, an answer is that of the masked reference"
    return _summed_up(name, pairs)


def _summed_up(name: str, pairs: list[tuple[Outcome, dict[str, Any]]]) -> Step:
    apart = max(figures["logits_apart"] for _, figures in pairs)
    alike = sum(figures["tokens_alike"] for _, figures in pairs)
    tokens = sum(figures["tokens"] for _, figures in pairs)
    verdict = FAILED if any(v == FAILED for v, _ in pairs) else OK
    detail = f"{alike} of {tokens} tokens alike, logits at most {apart:.1e} of the largest apart"
    return Step(name, verdict, detail, {"questions": [figures for _, figures in pairs]})


def _together(session: VideoSession, method: Method) -> Step:
    """A batch against one by one; only float32 promises that they are the same."""
    decoding = GenerationOptions(NEW_TOKENS)
    together = ask_together([Question(session, q) for q in QUESTIONS], method, decoding)
    alone = [session.ask(q, method, max_new_tokens=NEW_TOKENS) for q in QUESTIONS]
    alike = sum(a.answer == b.answer for a, b in zip(together, alone, strict=True))
    exact = session.loaded.model.dtype == torch.float32
    return Step(
        "asked together, answers are those asked alone",
        OK if alike == len(QUESTIONS) or not exact else FAILED,
        f"{alike} of {len(QUESTIONS)} alike"
        + ("" if exact else " (in this dtype rounding may tip a close call)"),
        {"alike": alike, "questions": len(QUESTIONS)},
    )

"""Checks of `dycoke verify`: of the engine against references.

Each check yields a step; a failed one doesn't stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch

from dycoke_cli.answer.answer import ReportedModel
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, VideoSession, ask_together
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.errors import UsageError
from dycoke_cli.kernels.processor import environment
from dycoke_cli.models.load_options import BUNDLED_FOLDER
from dycoke_cli.verification.reference import Run, attached_run, generate, masked_run, stock_inputs
from dycoke_cli.verification.verification_report import (
    FAILED,
    OK,
    CheckResult,
    Outcome,
    VerificationReport,
)
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling

QUESTIONS = (
    "What happens in the video?",
    "How many objects are there?",
    "What is shown on the card?",
)
NEW_TOKENS = 24
# The largest difference of logits, relative to the largest logit: the rounding error of sums of a
# few thousand products in another order, over a few dozen layers.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def checks(session: VideoSession) -> Iterator[CheckResult]:
    """Run all checks of a model on a clip, one after the other."""
    loaded = session.loaded
    default = DyCoke(**loaded.info.defaults)
    # Layers with a sliding window or linear attention have no KV entries to evict.
    prunes = not other_caches(loaded.model.get_decoder().config)
    session.encode(Stopwatch(loaded.model.device), BASELINE)
    prompts = [session.prompt(q, (), BASELINE, GenerationOptions(NEW_TOKENS))() for q in QUESTIONS]
    stock = [
        generate(loaded.model, stock_inputs(session, question), NEW_TOKENS)
        for question in QUESTIONS
    ]

    def compared(name: str, method: Method, reference: Callable[[int, Run], Run]) -> CheckResult:
        """Answers under a method beside references, by number of the question and our run."""
        runs = [attached_run(session, prompt, method, NEW_TOKENS) for prompt in prompts]
        dtype = loaded.model.dtype
        pairs = [compare(run, reference(n, run), dtype) for n, run in enumerate(runs)]
        figures = [found for _, found in pairs]
        apart = max(found["logits_apart"] for found in figures)
        identical, tokens = (
            sum(found[key] for found in figures) for key in ("tokens_alike", "tokens")
        )
        detail = (
            f"{identical} of {tokens} tokens identical, logits differ by {apart:.1e} of the "
            "largest at most"
        )
        verdict = FAILED if any(one == FAILED for one, _ in pairs) else OK
        return CheckResult(name, verdict, detail, {"questions": figures})

    def masked(method: DyCoke) -> CheckResult:
        name = f"{does}, positions {method.positions}: same answers as {reference}"
        return compared(name, method, lambda n, run: masked_run(session, prompts[n], run, method))

    yield compared(
        "encoded in chunks: same answers as stock generate()", Method(), lambda n, run: stock[n]
    )
    # Everything of the method runs, but nothing is dropped: any difference is a bug of the engine.
    keep_all = replace(default, merge_ratio=0.0, prune_ratio=0.0, kv_prune=prunes)
    name = "attached, all tokens kept: same answers as stock generate()"
    yield compared(name, keep_all, lambda n, run: stock[n])
    default = replace(default, kv_prune=prunes)
    does, reference = "pruned", "the masked reference"
    if not prunes:  # layers that don't keep every token have nothing to mask
        does, reference = "merged", "stock generate() on a shorter prompt"
    yield masked(default)
    if loaded.family.counts_tokens:
        # The positions that aren't the family's default are supported as well.
        other: Literal["kept", "renumbered"] = "kept" if default.renumbers() else "renumbered"
        yield masked(replace(default, positions=other))
    yield compare_batch(session, default)


def compare_batch(session: VideoSession, method: Method) -> CheckResult:
    """Compare a batch with the same questions one by one; only in float32 must they be equal."""
    options = GenerationOptions(NEW_TOKENS)
    together = ask_together([Question(session, q) for q in QUESTIONS], method, options)
    alone = [session.ask(q, method, max_tokens=NEW_TOKENS) for q in QUESTIONS]
    identical = sum(a.answer == b.answer for a, b in zip(together, alone, strict=True))
    exact = session.loaded.model.dtype == torch.float32
    return CheckResult(
        "in one batch: same answers as one by one",
        OK if identical == len(QUESTIONS) or not exact else FAILED,
        f"{identical} of {len(QUESTIONS)} identical"
        + ("" if exact else " (rounding in this dtype may change a near-tie)"),
        {"alike": identical, "questions": len(QUESTIONS)},
    )


def compare(ours: Run, reference: Run, dtype: torch.dtype) -> tuple[Outcome, dict[str, Any]]:
    """Compare a run with its reference.

    Logits are compared up to and including the first token that differs: until there, both runs
    have the same inputs.

    Returns:
        The verdict, and the figures for the report.
    """
    length = min(len(ours.tokens), len(reference.tokens))
    apart = (ours.tokens[:length] != reference.tokens[:length]).nonzero().flatten()
    same = length if not len(apart) else int(apart[0])
    steps = min(same + 1, length)
    difference = (ours.logits[:steps] - reference.logits[:steps]).abs().max()
    largest = reference.logits[:steps].abs().max()
    share = float(difference / largest)
    verdict = OK if share <= TOLERANCE[dtype] else FAILED
    # In a narrower dtype, logits within the tolerance may still rank two tokens the other way.
    if dtype == torch.float32 and same < length:
        verdict = FAILED
    figures = {"tokens": length, "tokens_alike": same, "logits_apart": share}
    return verdict, figures


CLIP = BUNDLED_FOLDER / "demo.mp4"


def clip(frames: int) -> Clip:
    """Frames of the fixed clip on which every model is verified."""
    return read(str(CLIP), Sampling(frames=frames))


def verify(
    session: VideoSession,
    on_step: Callable[[CheckResult], None] = lambda step: None,
) -> VerificationReport:
    """Verify a model; each check is reported as soon as it is done."""
    if why_not := session.loaded.family.only_none:
        raise UsageError(
            f"there is nothing to verify of {session.loaded.name}: it answers with --method none "
            f"alone, for {why_not}"
        )
    steps = []
    for step in checks(session):
        on_step(step)
        steps.append(step)
    loaded = session.loaded
    return VerificationReport(
        verdict="not verified" if any(s.verdict == FAILED for s in steps) else "verified",
        model=ReportedModel(loaded.name, loaded.revision, loaded.dtype, loaded.device),
        family=loaded.model.config.model_type,
        layers=loaded.model.config.get_text_config().num_hidden_layers,
        frames=len(session.clip.timestamps_s),
        environment=environment(loaded.model.device),
        steps=tuple(steps),
    )

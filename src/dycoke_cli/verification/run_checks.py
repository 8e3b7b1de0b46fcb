"""Checks of `dycoke verify`: of the engine against references.

Each check yields a step; a failed one doesn't stop the others.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
import transformers

from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.prompt_batch import Prompt
from dycoke_cli.engine.session import Question, VideoSession, ask_together
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.settings import BUNDLED_FOLDER
from dycoke_cli.verification.reference import Run, attached_run, masked_run, stock_runs
from dycoke_cli.verification.verification_report import (
    FAILED,
    OK,
    CheckResult,
    Outcome,
    VerificationEnvironment,
    VerificationReport,
    VerifiedModel,
)
from dycoke_cli.video import Clip, Sampling, read

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
    default = DyCoke(**loaded.traits.defaults)
    # Layers with a sliding window or linear attention have no KV entries to evict.
    prunes = not other_caches(loaded.model.get_decoder().config)
    session.encode(Stopwatch(loaded.model.device), BASELINE)
    prompts = [session.prompt(q, (), BASELINE, GenerationOptions(NEW_TOKENS))() for q in QUESTIONS]
    stock = stock_runs(session, QUESTIONS, prompts, NEW_TOKENS)
    yield _compare_with_stock(
        "encoded in chunks: same answers as stock generate()",
        session,
        prompts,
        lambda prompt: attached_run(session, prompt, Method(), NEW_TOKENS),
        stock,
    )
    # Everything of the method runs, but nothing is dropped: any difference is a bug of the engine.
    keep_all = replace(default, merge_ratio=0.0, prune_ratio=0.0, kv_prune=prunes)
    yield _compare_with_stock(
        "attached, all tokens kept: same answers as stock generate()",
        session,
        prompts,
        lambda prompt: attached_run(session, prompt, keep_all, NEW_TOKENS),
        stock,
    )
    default = replace(default, kv_prune=prunes)
    does, reference = "pruned", "the masked reference"
    if not prunes:  # layers that don't keep every token have nothing to mask
        does, reference = "merged", "stock generate() on a shorter prompt"

    def masked(method: DyCoke) -> CheckResult:
        name = f"{does}, positions {method.positions}: same answers as {reference}"
        return compare_with_masked(name, session, prompts, method)

    yield masked(default)
    if loaded.family.counts_tokens:
        # The positions that aren't the family's default are supported as well.
        other: Literal["kept", "renumbered"] = "kept" if default.renumbers() else "renumbered"
        yield masked(replace(default, positions=other))
    yield compare_batch(session, default)


def _compare_with_stock(
    name: str,
    session: VideoSession,
    prompts: list[Prompt],
    run: Callable[[Prompt], Run],
    stock: list[Run],
) -> CheckResult:
    dtype = session.loaded.model.dtype
    both = zip(prompts, stock, strict=True)
    pairs = [compare(run(prompt), reference, dtype) for prompt, reference in both]
    return _compared(name, pairs)


def compare_with_masked(
    name: str, session: VideoSession, prompts: Sequence[Prompt], method: Method
) -> CheckResult:
    """Compare answers with those of stock `generate()` in which dropped tokens are masked."""
    pairs = []
    for prompt in prompts:
        run = attached_run(session, prompt, method, NEW_TOKENS)
        reference = masked_run(session, prompt, run, method)
        pairs.append(compare(run, reference, session.loaded.model.dtype))
    return _compared(name, pairs)


def _compared(name: str, pairs: list[tuple[Outcome, dict[str, Any]]]) -> CheckResult:
    apart = max(figures["logits_apart"] for _, figures in pairs)
    identical = sum(figures["tokens_alike"] for _, figures in pairs)
    tokens = sum(figures["tokens"] for _, figures in pairs)
    verdict = FAILED if any(v == FAILED for v, _ in pairs) else OK
    detail = (
        f"{identical} of {tokens} tokens identical, logits differ by {apart:.1e} of the largest "
        "at most"
    )
    return CheckResult(name, verdict, detail, {"questions": [figures for _, figures in pairs]})


def compare_batch(session: VideoSession, method: Method) -> CheckResult:
    """Compare a batch with the same questions one by one; only in float32 must they be equal."""
    options = GenerationOptions(NEW_TOKENS)
    together = ask_together([Question(session, q) for q in QUESTIONS], method, options)
    alone = [session.ask(q, method, max_new_tokens=NEW_TOKENS) for q in QUESTIONS]
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
    return VerificationReport(
        verdict="not verified" if any(s.verdict == FAILED for s in steps) else "verified",
        model=_model(session.loaded),
        frames=len(session.clip.timestamps_s),
        environment=VerificationEnvironment(
            python=platform.python_version(),
            torch=torch.__version__,
            transformers=transformers.__version__,
            machine=_machine(session.loaded.model.device),
        ),
        steps=tuple(steps),
    )


def _model(loaded: LoadedModel) -> VerifiedModel:
    return VerifiedModel(
        name=loaded.name,
        revision=loaded.revision,
        family=loaded.model.config.model_type,
        layers=loaded.model.config.get_text_config().num_hidden_layers,
        dtype=loaded.dtype,
        device=loaded.device,
    )


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()

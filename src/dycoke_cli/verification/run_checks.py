"""Run of `dycoke verify`: checks, answers and environment."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
import transformers

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.errors import UsageError
from dycoke_cli.models import mini
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.verification.checks import QUESTIONS, checks
from dycoke_cli.verification.verification_report import (
    FAILED,
    Environment,
    LanguageSeconds,
    MethodAnswer,
    Step,
    VerificationReport,
    VerifiedModel,
)
from dycoke_cli.video import Clip, Sampling, read

CLIP = Path(mini.__file__).parent / "demo.mp4"
NEW_TOKENS = 64
T = TypeVar("T")


def clip(frames: int) -> Clip:
    """Frames of the fixed clip on which every model is verified."""
    return read(str(CLIP), Sampling(frames=frames))


def verify(
    session: VideoSession,
    on_step: Callable[[Step], None] = lambda step: None,
    on_answer: Callable[[MethodAnswer], None] = lambda answer: None,
) -> VerificationReport:
    """Verify a model, and report its answers with and without compression."""
    if why_not := session.loaded.family.only_none:
        raise UsageError(
            f"there is nothing to verify of {session.loaded.name}: it answers with --method none "
            f"alone, for {why_not}"
        )
    steps = _reported(checks(session), on_step)
    answers = _reported(_answers(session), on_answer)
    return VerificationReport(
        verdict="not verified" if any(s.verdict == FAILED for s in steps) else "verified",
        model=_model(session.loaded),
        frames=len(session.clip.timestamps_s),
        environment=Environment(
            python=platform.python_version(),
            torch=torch.__version__,
            transformers=transformers.__version__,
            machine=_machine(session.loaded.model.device),
        ),
        steps=steps,
        answers=answers,
    )


def _reported(results: Iterable[T], report: Callable[[T], None]) -> tuple[T, ...]:
    """Collect results; each is reported as soon as it is available."""
    collected = []
    for result in results:
        report(result)
        collected.append(result)
    return tuple(collected)


def _answers(session: VideoSession) -> Iterator[MethodAnswer]:
    """Answer the fixed questions under each method."""
    methods = {"none": Method(), "ttm": DyCoke(kv_prune=False)}
    # Models whose layers don't all keep a full KV cache can't be pruned during decode.
    if not other_caches(session.loaded.model.get_decoder().config):
        methods["dycoke"] = DyCoke()
    for question in QUESTIONS:
        for name, method in methods.items():
            yield _row(name, session.ask(question, method, max_new_tokens=NEW_TOKENS))


def _row(method: str, answer: Answer) -> MethodAnswer:
    return MethodAnswer(
        question=answer.question,
        method=method,
        answer=answer.answer,
        tokens=answer.tokens,
        seconds=LanguageSeconds(answer.seconds.prefill, answer.seconds.decode),
        tokens_per_second=answer.tokens_per_second,
        bytes=answer.bytes,
    )


def _model(loaded: LoadedModel) -> VerifiedModel:
    return VerifiedModel(
        name=loaded.name,
        revision=loaded.revision,
        family=loaded.model.config.model_type,
        layers=loaded.layers,
        dtype=loaded.dtype,
        device=loaded.device,
    )


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()

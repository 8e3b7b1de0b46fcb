"""The answer to a question that a model of one domain can't understand. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.answer.answer import Answer, ReportedFrames, ReportedModel, ReportedSubtitles
from dycoke_cli.answer.json_schema import ABSENT, Absent
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import described


def refused_answer(
    question: str,
    domain: str,
    unknown: Sequence[str],
    model: ReportedModel,
    method: Method,
    frames: ReportedFrames,
    warnings: Sequence[str],
    subtitles: ReportedSubtitles | Absent = ABSENT,
) -> Answer:
    """Make the answer in place of the model's, which isn't asked."""
    reason = f"it only knows {domain}, and its vocabulary lacks: {', '.join(unknown)}"
    return Answer(
        question=question,
        answer=f"I only know {domain}.",
        finish_reason="refused",
        seed=None,
        model=model,
        method=described(method),
        frames=frames,
        subtitles=subtitles,
        tokens=None,
        decode=None,
        flops=None,
        seconds=None,
        tokens_per_second=None,
        bytes=None,
        warnings=(*warnings, f"the model wasn't asked: {reason}"),
    )

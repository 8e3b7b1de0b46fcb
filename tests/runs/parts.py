"""Questions, a way to answer them, and somebody who listens."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from dycoke_cli.ask import Ask
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.discovery import find
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.video.sampling import Sampling

CLIPS = Path(__file__).parents[2] / "sample_videos"
REQUEST = Request(
    model="mini",
    loading=LoadOptions(device="cpu"),
    method=DyCoke(prune_layer=2, positions="kept"),
    sampling=Sampling(frames=2),
    generation=GenerationOptions(max_tokens=4),
)
PLAN = RunPlan(
    REQUEST,
    REQUEST.method,
    {"name": "mini", "revision": None, "weights": "sha256:0", "dtype": "float32"},
)
Group = list[Ask]


def plan_with(plan: RunPlan = PLAN, **changes: Any) -> RunPlan:
    """A plan with other fields of its request."""
    request = replace(plan.request, **changes)
    return replace(plan, request=request, given=request.method)


def groups_in(where: Path | str, *texts: str, plan: RunPlan = PLAN) -> list[Group]:
    """The same questions about all videos of a folder, by the request of a plan."""
    videos = find(str(where)).videos
    return [[Ask(text, plan.request, (video,)) for text in texts or ("What?",)] for video in videos]


def settled_in(where: Path | str, *texts: str, plan: RunPlan = PLAN) -> list[Group]:
    """The same with their keys, as a backend gets them."""
    groups = groups_in(where, *texts, plan=plan)
    return [[plan.with_defaults(ask) for ask in group] for group in groups]


class Heard(Listener):
    """Interrupts the run at so many answers."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__()
        self._interrupt_at = interrupt_at

    def progress(self, counts: RunCounts) -> None:
        if self._interrupt_at is not None and counts.answered == self._interrupt_at:
            self._interrupt_at = None
            signal.raise_signal(signal.SIGINT)

"""Jobs, a way to answer them, and somebody who listens."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.discovery import find
from dycoke_cli.runs.jobs import Job, JobQuestion
from dycoke_cli.runs.listener import Counts, Listener
from dycoke_cli.loop.plan import Plan
from dycoke_cli.video import Sampling

CLIPS = Path(__file__).parents[2] / "sample_videos"
PLAN = Plan(
    model="mini",
    loading=LoadOptions(device="cpu"),
    method=DyCoke(prune_layer=2, positions="kept"),
    sampling=Sampling(frames=2),
    generation=GenerationOptions(max_new_tokens=4),
    identity={"name": "mini", "revision": None, "weights": "sha256:0", "dtype": "float32"},
)


def jobs_in(where: Path | str, *texts: str) -> list[Job]:
    """The same questions about all videos of a folder."""
    asked = tuple(JobQuestion(None, text) for text in texts or ("What?",))
    return [Job(video, asked) for video in find(str(where)).videos]


class Heard(Listener):
    """Remembers the counts; stops the run at so many lines.

    Args:
        interrupt_at: as Ctrl-C would.
    """

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__()
        self.counts: Counts | None = None
        self._interrupt_at = interrupt_at

    def progress(self, counts: Counts) -> None:
        self.counts = replace(counts)
        if self._interrupt_at is not None and counts.answered == self._interrupt_at:
            self._interrupt_at = None
            signal.raise_signal(signal.SIGINT)

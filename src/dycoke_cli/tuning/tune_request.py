"""Options of a run of `dycoke tune`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.compression.method_specs import Spec
from dycoke_cli.errors import UsageError
from dycoke_cli.request import Request
from dycoke_cli.storage.cache_folder import kept

GENERAL = (
    "What happens in the video?",
    "What happens first?",
    "What happens at the end?",
    "What is shown?",
    "How many people are there?",
    "Where does it take place?",
)
LEAST_VIDEOS = 4


@dataclass(frozen=True)
class Tune:
    """Options of a run."""

    videos: tuple[str, ...]  # paths
    questions: tuple[str, ...]  # questions about each video; empty for the built-in general ones
    specs: tuple[Spec, ...] | None  # the settings; None for the grid
    request: Request  # options of the answers; its method is ignored
    target: float = 0.98  # required share of unchanged answers
    minutes: float = 20.0  # time limit
    out: Path | None = None  # folder of the journal; None is one in the user's cache

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise UsageError(f"--target must be above 0 and at most 1, not {self.target:g}")
        if not self.minutes > 0:
            raise UsageError(f"--minutes must be above 0, not {self.minutes:g}")
        if self.request.generation.temperature > 0:
            raise UsageError("tune compares greedy answers; leave --temperature out")
        if self.request.generation.typed is not None and not self.questions:
            raise UsageError(
                "the built-in questions aren't about your options: give --questions FILE, with a "
                "question per line that they answer"
            )
        if self.request.loading.random_weights:
            raise UsageError("the answers of random weights mean nothing: there is nothing to tune")
        if len(self.videos) < LEAST_VIDEOS:
            raise UsageError(
                f"tune needs {LEAST_VIDEOS} videos or more, half to choose by and half to test on; "
                f"there {'is' if len(self.videos) == 1 else 'are'} {len(self.videos)}, so give "
                f"{LEAST_VIDEOS - len(self.videos)} more"
            )

    @property
    def all_questions(self) -> tuple[str, ...]:
        """Questions about each video: the given ones, or the built-in ones."""
        return self.questions or GENERAL

    @property
    def folder(self) -> Path:
        """Folder of the journal."""
        return kept("tune") if self.out is None else self.out

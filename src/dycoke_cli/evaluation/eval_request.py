"""What is asked of an evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import Spec
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Dataset, Split
from dycoke_cli.evaluation.scoring.judge import OpenAIClient
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.runs.run import OpenAsker
from dycoke_cli.storage.cache_folder import kept
from dycoke_cli.video.sampling import Sampling

BUNDLED = Request("mini", LoadOptions(), Sampling(), Method(), GenerationOptions())
"""The defaults."""


@dataclass(frozen=True)
class Evaluation:
    """Options of an evaluation."""

    dataset: Dataset  # the benchmark
    specs: list[Spec]  # the rows
    # options of the answers; its method is ignored, each row has its own
    request: Request = BUNDLED
    # "validation" for model and parameter selection, "test" for reported results
    split: Split = "test"
    limit_videos: int | None = None  # number of videos; None for all
    out: Path | None = None  # folder of the journal; None is a folder in the user's cache
    workers: int | None = None  # number of processes; None chooses by model and machine
    batch_size: int | None = 1  # questions per batch; None chooses by free memory
    cache: bool = False  # whether encoded videos are kept on disk
    # opens what answers; None is this machine
    engine: OpenAsker | None = field(default=None, compare=False)
    # model on a server, in place of one that `engine` loads
    served: ServedModel | None = field(default=None, compare=False)
    # endpoint that grades open answers; None for no judge
    judge: OpenAIClient | None = field(default=None, compare=False)
    # name of the preset that the settings come from, see `presets`; empty for none
    preset: str = ""

    def __post_init__(self) -> None:
        if self.limit_videos is not None and self.limit_videos < 1:
            raise UsageError(f"--limit must be 1 or more, not {self.limit_videos}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    @property
    def folder(self) -> Path:
        """Folder of the journal."""
        if self.out is not None:
            return self.out
        model = re.sub(r"[^\w.-]+", "-", self.request.model).strip("-.")
        return kept("evaluation") / f"{self.dataset.name}-{self.split}-{model}"

    @property
    def frames(self) -> int | None:
        """Frames per video; None with `--fps`."""
        return None if self.request.sampling.fps else self.request.sampling.frames

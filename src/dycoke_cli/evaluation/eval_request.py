"""Options of a run of `dycoke eval`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.method_specs import Spec
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import OWN_RULE, Dataset, Split
from dycoke_cli.evaluation.datasets import rule_of
from dycoke_cli.evaluation.scoring.judge_client import Client
from dycoke_cli.evaluation.shard import Shard
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.runs.run import Backend
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.video import Sampling

BUNDLED = Request("mini", LoadOptions(), Sampling(), Method(), GenerationOptions())
"""The defaults."""


@dataclass(frozen=True)
class Evaluation:
    """Options of an evaluation.

    Args:
        dataset: the benchmark.
        specs: the rows.
        request: options of the answers; its method is ignored, each row has its own.
        split: "validation" for model and parameter selection, "test" for reported results.
        limit_videos: number of videos; None for all.
        shard: part of the videos; None for all.
        out: folder of the journal; None is a folder in the user's cache.
        workers: number of processes; None chooses by model and machine.
        batch_size: questions per batch; None chooses by free memory.
        cache: whether encoded videos are kept on disk.
        engine: backend that answers; None is this machine.
        served: model on a server, in place of one that `engine` loads.
        judge: endpoint that grades open answers; None for no judge.
        rule: scoring rule, see `datasets.rule_of`.
        preset: name of the preset that the settings come from, see `presets`; empty for none.
        guards: each is a row after those of `specs`.
        cautions: warnings about the stored tuning.
        by_probability: whether multiple choice is also answered by the options' probabilities.

    Raises:
        UsageError: a value out of range.
    """

    dataset: Dataset
    specs: list[Spec]
    request: Request = BUNDLED
    split: Split = "test"
    limit_videos: int | None = None
    shard: Shard | None = None
    out: Path | None = None
    workers: int | None = None
    batch_size: int | None = 1
    cache: bool = False
    engine: Backend | None = field(default=None, compare=False)
    served: ServedModel | None = field(default=None, compare=False)
    judge: Client | None = field(default=None, compare=False)
    rule: str = OWN_RULE
    preset: str = ""
    guards: tuple[Guard, ...] = ()
    cautions: tuple[str, ...] = ()
    by_probability: bool = False

    def __post_init__(self) -> None:
        if self.limit_videos is not None and self.limit_videos < 1:
            raise UsageError(f"--limit must be 1 or more, not {self.limit_videos}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")
        rule_of(self.dataset.name, self.rule)

    @property
    def folder(self) -> Path:
        """Folder of the journal."""
        if self.out is not None:
            return self.out
        model = re.sub(r"[^\w.-]+", "-", self.request.model).strip("-.")
        shard = "" if self.shard is None else f"-{self.shard.number}-of-{self.shard.count}"
        return cache_folder() / "evaluation" / f"{self.dataset.name}-{self.split}-{model}{shard}"

    @property
    def frames(self) -> int | None:
        """Frames per video; None with `--fps`."""
        return None if self.request.sampling.fps else self.request.sampling.frames

"""All that is chosen for an evaluation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import OWN_RULE, Dataset, Split
from dycoke_cli.evaluation.datasets import rule_of
from dycoke_cli.evaluation.method_specs import Spec
from dycoke_cli.evaluation.scoring.judge_client import Client
from dycoke_cli.evaluation.shard import Shard
from dycoke_cli.guard.ladder import Guard
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.runs.run import Engine
from dycoke_cli.storage.cache_folder import cache_folder
from dycoke_cli.video import Sampling

BUNDLED = Request("mini", LoadOptions(), Sampling(), Method(), GenerationOptions())
"""The defaults."""


@dataclass(frozen=True)
class Evaluation:
    """All that is chosen for an evaluation.

    Args:
        dataset: the benchmark.
        specs: the rows.
        request: how questions are asked; each row has a method of its own.
        split: "validation" for every choice that is made, "test" for what is reported.
        limit_videos: only the first so many videos, or None for all.
        shard: only the videos that fall to it, or None for all.
        out: folder of the journal; None is a folder in the user's cache.
        workers: processes; None chooses what suits the model and the machine.
        batch_size: questions that are answered together; None chooses by the memory that is free.
        cache: whether encoded videos are kept on disk.
        engine: what answers; None is this machine.
        served: the model on a server, in place of one that `engine` loads.
        judge: the endpoint that grades open answers; None is none.
        rule: by which answers are scored, see `datasets.rule_of`.
        preset: the name of that which chose the settings, see `presets`; empty is none.
        guards: each a row behind those of `specs`.
        cautions: warnings about what `dycoke tune` chose.

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
    engine: Engine | None = field(default=None, compare=False)
    served: ServedModel | None = field(default=None, compare=False)
    judge: Client | None = field(default=None, compare=False)
    rule: str = OWN_RULE
    preset: str = ""
    guards: tuple[Guard, ...] = ()
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.limit_videos is not None and self.limit_videos < 1:
            raise UsageError(f"--limit must be 1 or more, not {self.limit_videos}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")
        rule_of(self.dataset.name, self.rule)

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        if self.out is not None:
            return self.out
        model = re.sub(r"[^\w.-]+", "-", self.request.model).strip("-.")
        shard = "" if self.shard is None else f"-{self.shard.number}-of-{self.shard.count}"
        return cache_folder() / "evaluation" / f"{self.dataset.name}-{self.split}-{model}{shard}"

    @property
    def frames(self) -> int | None:
        """Of each video; None where --fps says how many."""
        return None if self.request.sampling.fps else self.request.sampling.frames

"""What is asked of an evaluation, and which share of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import Spec
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import OWN_RULE, Dataset, Split
from dycoke_cli.evaluation.datasets import rule_of
from dycoke_cli.evaluation.scoring.judge import OpenAIClient
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.remote.served_model import ServedModel
from dycoke_cli.runs.run import OpenAsker
from dycoke_cli.storage.cache_folder import kept
from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class Shard:
    """Shard of a benchmark's videos.

    A hash of a video's name determines its shard, independently of other videos: with a larger
    `--limit`, each machine keeps its videos.
    """

    number: int  # from 1 to `count`
    count: int  # of shards

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, video: str) -> bool:
        """Whether a video is in this shard."""
        # Not the hash that `--limit` sorts by: of the first videos, all its values are small.
        digest = hashlib.sha256(b"shard" + video.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Parse the value of `--shard`, such as 1/2."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard must be a number and a count, from 1/2 to 2/2, not {text!r}")
    return Shard(int(number), int(count))


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
    shard: Shard | None = None  # part of the videos; None for all
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
    rule: str = OWN_RULE  # scoring rule, see `datasets.rule_of`
    # name of the preset that the settings come from, see `presets`; empty for none
    preset: str = ""
    # whether multiple choice is also answered by the options' probabilities
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
        return kept("evaluation") / f"{self.dataset.name}-{self.split}-{model}{shard}"

    @property
    def frames(self) -> int | None:
        """Frames per video; None with `--fps`."""
        return None if self.request.sampling.fps else self.request.sampling.frames

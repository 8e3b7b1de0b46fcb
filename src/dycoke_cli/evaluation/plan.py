"""All that is chosen for an evaluation, and the rows that it makes on a model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dycoke_cli import __version__
from dycoke_cli.cache import cache_folder
from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import Dataset, Split
from dycoke_cli.evaluation.prediction import Setup
from dycoke_cli.evaluation.specs import Spec
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import ResolvedModel
from dycoke_cli.video import Sampling


@dataclass(frozen=True)
class Plan:
    """All that is chosen for an evaluation.

    Args:
        dataset: the benchmark.
        specs: the rows.
        model: what `--model` takes.
        loading: how it is loaded.
        split: "validation" for every choice that is made, "test" for what is reported.
        frames: how many of each video.
        limit_videos: only the first so many videos, or None for all.
        out: folder of the journal; None is a folder in the user's cache.
        workers: processes; None chooses what suits the model and the machine.

    Raises:
        UsageError: a value out of range.
    """

    dataset: Dataset
    specs: list[Spec]
    model: str = "mini"
    loading: LoadOptions = field(default_factory=LoadOptions)
    split: Split = "test"
    frames: int = 32
    limit_videos: int | None = None
    out: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        Sampling(frames=self.frames)
        if self.limit_videos is not None and self.limit_videos < 1:
            raise UsageError(f"--limit must be 1 or more, not {self.limit_videos}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        if self.out is not None:
            return self.out
        model = re.sub(r"[^\w.-]+", "-", self.model).strip("-.")
        return cache_folder() / "evaluation" / f"{self.dataset.name}-{self.split}-{model}"


@dataclass(frozen=True)
class Line:
    """A row to be, on the model that was chosen.

    Args:
        spec: as it was given.
        method: with all its parameters.
        setup: what its answers depend on.
    """

    spec: Spec
    method: Method
    setup: Setup

    @property
    def is_uncompressed(self) -> bool:
        """Whether this is what all others are compared with."""
        return self.spec.method == "none" and self.spec.frames is None


def lines_of(plan: Plan, chosen: ResolvedModel) -> list[Line]:
    """The rows of a plan, in its order.

    Raises:
        UsageError: a parameter that doesn't fit the model.
    """
    about = chosen.describe()
    lines = []
    for spec in plan.specs:
        method = spec.for_model(chosen)
        setup = Setup(
            version=__version__,
            benchmark=plan.dataset.name,
            edition=plan.dataset.edition,
            split=plan.split,
            model=about,
            method={"name": method.name, **method.parameters()},
            frames=plan.frames if spec.frames is None else spec.frames,
        )
        lines.append(Line(spec, method, setup))
    return lines

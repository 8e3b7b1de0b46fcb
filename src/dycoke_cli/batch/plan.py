"""How all questions of a run are answered, and what tells one answer from all others."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.batch.jobs import Asked, Job
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.video import Sampling

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class How:
    """All that an engine needs to answer; it can be sent to another process.

    Args:
        model: what `--model` takes.
        loading: how it is loaded.
        method: what is left out, with all its parameters.
        sampling: which frames are read.
        decoding: how answers are written.
        identity: what tells the model from others: name, revision, weights, dtype.
        batch_size: questions that are answered together; None chooses by the memory that is free.
        cache: whether encoded videos are kept on disk.
        model_bytes: of memory that loading the model takes; None where that isn't known.

    Raises:
        UsageError: a value out of range.
    """

    model: str
    loading: LoadOptions
    method: Method
    sampling: Sampling
    decoding: GenerationOptions
    identity: dict[str, Any]
    batch_size: int | None = None
    cache: bool = False
    model_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size must be 1 or more, not {self.batch_size}")

    def key(self, job: Job, asked: Asked) -> str:
        """What changes when anything does that the answer depends on."""
        about = {
            # Bytes that aren't UTF-8 have no other way into JSON.
            "video": os.fsencode(job.video.name).hex(),
            "digest": job.digest,
            "id": asked.id,
            "question": asked.text,
            "model": self.identity,
            "method": {"name": self.method.name, **self.method.parameters()},
            "sampling": asdict(self.sampling),
            "decoding": asdict(self.decoding),
        }
        content = json.dumps(about, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:32]


def identity(chosen: ResolvedModel) -> dict[str, Any]:
    """What tells a model from others; the device doesn't, for it may change between two runs."""
    return {name: value for name, value in chosen.describe().items() if name != "device"}

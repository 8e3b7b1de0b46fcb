"""The plan of a run for an engine, and the key of an answer."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.engine.vision_tower.needs import check_tower
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import UNLISTED
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.request import Request
from dycoke_cli.runs.jobs import Asked, Job

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class Plan(Request):
    """A request for a model that was found; it can be sent to another process.

    Args:
        identity: what tells the model from others: name, revision, weights, dtype.
        batch_size: questions that are answered together; None chooses by the memory that is free.
        cache: whether encoded videos are kept on disk.
        workers: processes of this machine that each hold the model and answer; 1 is this one.
        model_bytes: of memory that loading the model takes; None where that isn't known.

    Raises:
        UsageError: a value out of range.
    """

    identity: dict[str, Any]
    batch_size: int | None = None
    cache: bool = False
    workers: int = 1
    model_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size must be 1 or more, not {self.batch_size}")
        if self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    def key(self, job: Job, asked: Asked) -> str:
        """What changes when anything does that the answer depends on."""
        about = {
            # Bytes that aren't UTF-8 have no other way into JSON.
            "video": os.fsencode(job.video.name).hex(),
            "digest": job.digest,
            "id": asked.id,
            "question": asked.text,
            "model": self.identity,
            # Those of the container are part of the video's own digest.
            **({} if job.subtitles is None else {"subtitles": job.subtitles.digest}),
            **(self if asked.method is None else replace(self, method=asked.method)).key_parts(),
        }
        content = json.dumps(about, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:32]


def plan_of(request: Request, found: ResolvedModel, **more: Any) -> Plan:
    """The plan of a request.

    Args:
        request: of a command.
        found: the model that it names.
        more: the other fields of `Plan`.

    Raises:
        UsageError: the model doesn't have a layer that a parameter of the method names, or its
            vision tower doesn't give what the method needs; or audio is asked for, and it takes
            none.
    """
    options = {field.name: getattr(request, field.name) for field in fields(Request)}
    if found.family is not UNLISTED:  # of which nothing is known before it is loaded
        check_tower(found.config, request.method)
        options["method"] = request.method.suited(found.method_defaults, found.layers, found.name)
    options["sampling"] = listening(request.sampling, request.model, request.loading)
    return Plan(**options, identity=identity(found), **more)


def identity(found: ResolvedModel) -> dict[str, Any]:
    """What tells a model from others; the device doesn't, for it may change between two runs."""
    return {name: value for name, value in found.describe().items() if name != "device"}

"""The plan of a run for an engine, and the key of an answer."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.ask import Ask
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import identity
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.param import key_part
from dycoke_cli.request import Request

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


@dataclass(frozen=True)
class RunPlan:
    """How the questions of a run are answered. It can be sent to another process."""

    request: Request  # with the defaults of the model
    given: Method  # the method without them
    identity: dict[str, Any]  # identity of the model: name, revision, weights, dtype
    # questions that are answered together; None chooses by the free memory
    batch_size: int | None = None
    cache: bool = False  # whether encoded videos are cached on disk
    workers: int = 1  # processes on this machine that each load the model; 1 is this process
    model_bytes: int | None = None  # memory that loading the model takes, in bytes; None if unknown

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size must be 1 or more, not {self.batch_size}")
        if self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    def engine(self, readers: int | None = None) -> Engine:
        """An engine of this process; `readers` are the videos that it reads at once."""
        return Engine(self.request, batch_size=self.batch_size, cache=self.cache, readers=readers)

    def with_defaults(self, ask: Ask) -> Ask:
        """A question with the defaults of the model, and the key of its answer."""
        own = ask.request
        method = self.request.method if own.method == self.given else own.method
        request = replace(
            own, model=self.request.model, loading=self.request.loading, method=method
        )
        ask = replace(ask, request=request)
        return replace(ask, key=self.key(ask))

    def key(self, ask: Ask) -> str:
        """Hash of everything that the answer to a settled question depends on.

        A run resumes by it. The device isn't part of it, and neither is the batch size: answers may
        be continued on another machine.
        """
        video, request = ask.videos[0], ask.request
        tokens = request.video_tokens
        about = {
            # Hexadecimal, because a file name may hold bytes that aren't UTF-8, which JSON can't.
            "video": os.fsencode(video.place).hex(),
            "digest": video.digest,
            "id": ask.id,
            "question": ask.question,
            "model": self.identity,
            # Subtitles inside the video's container are part of the video's own digest.
            **({} if ask.when_s is None else {"when": ask.when_s}),
            **({"compare": True} if ask.compare else {}),
            **({} if video.subtitles is None else {"subtitles": video.subtitles.digest}),
            "method": {**identity(request.method), **key_part(request.method)},
            "sampling": key_part(request.sampling),
            "generation": key_part(request.generation),
            **({} if tokens is None else {"video_tokens": tokens}),
        }
        content = json.dumps(about, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:32]


def plan_of(request: Request, model: ResolvedModel | None = None, **more: Any) -> RunPlan:
    """The plan of a request.

    Args:
        model: that of the request, if it is resolved.
    """
    if model is None:
        from dycoke_cli.models.resolve import resolve_model

        model = resolve_model(request.model, request.loading)
    method, info = request.method, model.info
    # Settled here, so that keys have the defaults of the model: a default written out as a flag is
    # the same question. That of an unlisted family can be only once it is loaded.
    if info.listed:
        method = settled(method, info if request.video_tokens is None else info.before_windows)
    # Workers load the dtype that was chosen here, wherever they run: it is part of every key.
    asked = replace(request, loading=model.options, method=method)
    return RunPlan(asked, request.method, model.identity, **more)


def common_dtype(plan: RunPlan) -> str:
    """Sentence about the dtype of a run on several machines, whose processors may differ."""
    return f"all workers load the weights in {plan.identity['dtype']}; --dtype sets another"

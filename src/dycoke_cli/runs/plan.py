"""The plan of a run for an engine, and the key of an answer."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.models.files.on_disk import dtype_here, stored_config
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.models.reference import ModelRef, find
from dycoke_cli.models.resolve import commit_here, identity
from dycoke_cli.request import Request
from dycoke_cli.runs.jobs import Job, JobQuestion

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel
    from dycoke_cli.models.traits import ModelTraits


@dataclass(frozen=True)
class Plan(Request):
    """A request for a resolved model. It can be sent to another process.

    Args:
        identity: identity of the model: name, revision, weights, dtype.
        batch_size: questions that are answered together; None chooses by the free memory.
        cache: whether encoded videos are cached on disk.
        workers: processes on this machine that each load the model; 1 is this process.
        model_bytes: memory that loading the model takes, in bytes; None if unknown.

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
        if self.workers > 1 and self.max_tokens is not None:
            raise UsageError(
                "--max-tokens reads a video in the process that answers, so there is one: leave "
                "out --workers"
            )

    def key(self, job: Job, question: JobQuestion) -> str:
        """Hash of everything that the answer depends on: a run resumes by it.

        The device isn't part of it, and neither is the batch size: answers may be continued on
        another machine.
        """
        request = self if question.method is None else replace(self, method=question.method)
        if job.sampling is not None:
            own = replace(job.sampling, audio_rate=self.sampling.audio_rate)
            request = replace(request, sampling=own)
        about = {
            # Hexadecimal, because a file name may hold bytes that aren't UTF-8, which JSON can't.
            "video": os.fsencode(job.video.name).hex(),
            "digest": job.digest,
            "id": question.id,
            "question": question.text,
            "model": self.identity,
            # Subtitles inside the video's container are part of the video's own digest.
            **({} if job.subtitles is None else {"subtitles": job.subtitles.digest}),
            **request.key_parts(),
        }
        content = json.dumps(about, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:32]


def plan_of(request: Request, model: ResolvedModel, **more: Any) -> Plan:
    """The plan of a request.

    Args:
        request: of a command.
        model: the model that it names.
        more: the other fields of `Plan`.

    Raises:
        UsageError: a parameter of the method names a layer that the model doesn't have, the vision
            tower lacks what the method needs, or audio is requested of a model without audio input.
    """
    # Workers load the dtype that was chosen here, wherever they run: it is part of every key.
    return _plan(request, model.traits, model.source, model.options, model.identity, **more)


def stored_plan(request: Request) -> Plan | None:
    """The same by the model's stored configuration, without torch; None where that isn't certain.

    Raises:
        UsageError: see `plan_of`.
        ModelError: there is no such model.
    """
    loading, source = request.loading, find(request.model)
    stored = None if loading.random_weights or loading.revision else stored_config(source)
    revision = None if source.local else commit_here(source, None)
    if stored is None or stored.layers is None or not (source.local or revision):
        return None
    traits = stored.traits(source.name)
    target = Target.of(loading.device, None, this_machine())
    dtype = dtype_here(source, stored, loading, target).name
    if dtype == "auto" or not traits.listed:
        return None
    options = loading.with_dtype(dtype)
    about = identity(source, revision, traits.model_type, dtype, options.quantize)
    return _plan(request, traits, source, options, about)


def _plan(
    request: Request,
    traits: ModelTraits,
    source: ModelRef,
    loading: LoadOptions,
    about: dict[str, Any],
    **more: Any,
) -> Plan:
    options = {field.name: getattr(request, field.name) for field in fields(Request)}
    # Bound here, so that keys have the defaults of the model: a default written out as a flag is
    # the same question. An unlisted family can be bound only once it is loaded.
    if traits.listed:
        known = traits if request.max_tokens is None else traits.before_windows
        options["method"] = bind(request.method, known).method
    options["sampling"] = listening(request.sampling, source, request.loading)
    options["loading"] = loading
    return Plan(**options, identity=about, **more)


def common_dtype(plan: Plan) -> str:
    """Sentence about the dtype of a run on several machines, whose processors may differ."""
    return f"all workers load the weights in {plan.identity['dtype']}; --dtype sets another"

"""Loads the model, and assembles what answers requests about it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.unloaded_model import UnloadedModel, bind_loaded, check_plan
from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.media import Media, MediaFile
from dycoke_cli.server.prepare import CheckPlan, ReadClip
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.video.limits import Limits, check_size

if TYPE_CHECKING:
    from dycoke_cli.server.service import Service
    from dycoke_cli.video import Clip, Plan, Sampling
    from dycoke_cli.video.kept_frames import Fit

_MIB = 1024**2
_BODIES = 4  # room on disk for request bodies, in bodies of the largest allowed size


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of a service.

    Args:
        queue: requests that wait or are answered.
        frames: of a video, whatever a request says.
        body_mib: MiB of a request.
        held: encoded videos in memory.
    """

    queue: int = 64
    frames: int = 256
    body_mib: int = 256
    held: int = 8


def start_service(
    request: Request,
    unloaded: UnloadedModel,
    media: Media,
    limits: ServiceLimits,
    listener: Listener,
    *,
    cache: bool = False,
) -> Service:
    """Load the model, and assemble the service; its engine isn't started.

    Args:
        request: defaults of the requests.
        unloaded: the model of it.
        media: where videos may come from.
        limits: of the service.
        listener: receives the progress of loading.
        cache: whether encoded videos are kept on disk.

    Raises:
        ModelError: the model can't be loaded.
        UsageError: it doesn't support the method.
        OutOfMemoryError: it doesn't fit.
    """
    with faster_imports():
        from dycoke_cli.engine.visual_cache import VisualCache
        from dycoke_cli.models.load import load
        from dycoke_cli.models.prompts.audio_rate import listening
        from dycoke_cli.models.prompts.tool_calls import CallFormat
        from dycoke_cli.server.admission import Admission
        from dycoke_cli.server.engine_thread import EngineThread
        from dycoke_cli.server.incoming import BodyLimits
        from dycoke_cli.server.metrics import Metrics
        from dycoke_cli.server.service import Service
        from dycoke_cli.server.session_cache import SessionCache
        from dycoke_cli.stock.quiet import silence_libraries

    silence_libraries()
    listener.stage("load" if unloaded.local else "fetch")
    loaded = load(unloaded.source, on_stage=listener.stage, **asdict(request.loading))
    # Loaded again after idling, it has the same dtype: later, less memory may be free.
    options = request.loading.with_dtype(loaded.model.dtype)
    reload = partial(load, unloaded.source, **asdict(options))
    # Raises if the model doesn't support the method, so that the server never starts with it.
    bind_loaded(loaded, request.method, unloaded)
    metrics = Metrics()
    sessions = SessionCache(limits.held, metrics)
    kept = VisualCache() if cache else None
    return Service(
        defaults=replace(
            request, sampling=listening(request.sampling, unloaded.source, request.loading)
        ),
        engine=EngineThread(reload, loaded, sessions, metrics, kept),
        sessions=sessions,
        media=media,
        read=make_reader(request.limits),
        admission=Admission(limits.queue, _BODIES * limits.body_mib * _MIB, metrics),
        metrics=metrics,
        most_frames=limits.frames,
        bodies=BodyLimits(limits.body_mib * _MIB),
        context=loaded.context_length,
        fits=partial(check_plan, unloaded),
        calls=CallFormat.of(loaded.processor, loaded.model),
    )


def make_reader(limits: Limits) -> ReadClip:
    """Reader of request videos; each is decoded in a process of its own."""
    from dycoke_cli.video.decoder import Decoder, prepare_decoders

    prepare_decoders()

    def read(
        file: MediaFile,
        sampling: Sampling,
        check: CheckPlan,
        fit: Future[Fit] | None,
        allowance: Allowance,
    ) -> Clip:
        within = replace(limits, time_limit=allowance.left_s)
        most = None
        if file.frames is not None:
            is_list = isinstance(file.path, str)  # of JPEGs, all of which are decoded
            most = allowance.most_pixels(file.frames if is_list else sampling.frames)

        def check_all(plan: Plan) -> None:
            check(plan)
            if file.frames is None:  # how many are decoded, only the plan tells
                size = plan.info.width, plan.info.height
                check_size(file.shown, *size, allowance.most_pixels(len(plan.times_s)))

        with Decoder(within) as decoder, allowance.stopping(decoder.stop):
            return decoder.read(
                file.path,
                sampling,
                shown_as=file.shown,
                check=check_all,
                fit=fit,
                most_pixels=most,
                on_progress=lambda done, total: allowance.check(),
            )

    return read

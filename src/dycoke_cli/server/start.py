"""Loads the model, and assembles what answers requests about it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.engine.settling import settled
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.server.media import Media
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.video.frames import Fit

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.server.service import Service

_MIB = 1024**2
_BODIES = 4  # room on disk for request bodies, in bodies of the largest allowed size


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of a service."""

    queue: int = 64  # requests that wait or are answered
    frames: int = 256  # of a video, whatever a request says
    body_mib: int = 256  # MiB of a request
    held: int = 8  # encoded videos in memory


def start_service(
    request: Request,
    unloaded: UnloadedModel,
    media: Media,
    limits: ServiceLimits,
    listener: Listener,
    *,
    cache: bool = False,
) -> Service:
    """Load the model, and assemble the service; its engine isn't started."""
    with faster_imports():
        from dycoke_cli.models.files.on_disk import listening
        from dycoke_cli.models.load import load
        from dycoke_cli.models.prompts.chat import names_in
        from dycoke_cli.server.admission import Admission
        from dycoke_cli.server.incoming import BodyLimits
        from dycoke_cli.server.metrics import Metrics
        from dycoke_cli.server.service import Service
        from dycoke_cli.server.tool_calls import CallFormat
        from dycoke_cli.stock.quiet import silence_libraries

    silence_libraries()
    listener.stage("load" if unloaded.local else "fetch")
    loaded = load(unloaded.source, on_stage=listener.stage, **asdict(request.loading))
    # Loaded again after idling, it has the same dtype: later, less memory may be free.
    options = request.loading.with_dtype(loaded.model.dtype)

    def reload(fit: Future[Fit]) -> LoadedModel:
        return load(unloaded.source, fit=fit, **asdict(options))

    # Raises if the model doesn't support the method, so that the server never starts with it.
    settled(request.method, loaded.traits)
    metrics = Metrics()
    sampling = listening(request.sampling, unloaded.source, request.loading)
    return Service(
        defaults=replace(request, sampling=sampling),
        engine=Engine(
            request,
            load=reload,
            loaded=loaded,
            unloaded=replace(unloaded, traits=loaded.traits),
            keep=limits.held,
            cache=cache,
            counts=metrics,
        ),
        media=media,
        admission=Admission(limits.queue, _BODIES * limits.body_mib * _MIB, metrics),
        metrics=metrics,
        most_frames=limits.frames,
        bodies=BodyLimits(limits.body_mib * _MIB),
        context=loaded.context_length,
        loading=options,
        template_names=names_in(loaded.processor.chat_template),
        calls=CallFormat.of(loaded.processor, loaded.model),
    )

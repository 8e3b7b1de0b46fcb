"""What the addresses of the server need: the model is loaded, and all is assembled here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dycoke_cli import Engine, Request
from dycoke_cli.models.prompts.chat import names_in
from dycoke_cli.server.limits import Admission, Allowance
from dycoke_cli.server.media import Media
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_body import BodyLimits

if TYPE_CHECKING:
    from dycoke_cli.server.chat import ChatRequest


_End = Callable[[Exception], None]


class Underway:
    """Requests of one server; all in the event loop's thread."""

    def __init__(self) -> None:
        self._ends: set[_End] = set()
        self._ended = False

    @contextmanager
    def added(self, end: _End) -> Iterator[None]:
        """Have a request ended with the server, as long as the block lasts."""
        self._ends.add(end)
        try:
            if self._ended:
                end(_ending())
            yield
        finally:
            self._ends.discard(end)

    def end(self) -> None:
        """End all, and those to come."""
        self._ended = True
        for end in [*self._ends]:
            end(_ending())


def _ending() -> Refused:
    return Refused("the server ends; send the request again", status=503, code="ending")


# Of the frames of a request: 32 of 8K, or 256 of 2048 × 2048; more where more frames are allowed.
_PIXELS, _PIXELS_PER_FRAME = 2**30, 2**22


@dataclass(frozen=True)
class Service:
    """What the addresses need."""

    defaults: Request  # for all that a request doesn't say
    engine: Engine  # answers
    media: Media  # where videos may come from
    admission: Admission  # how much is taken on
    metrics: Metrics  # counts
    most_frames: int  # of a video
    bodies: BodyLimits  # limits on those of requests
    url: str = ""  # where it listens
    context: int | None = None  # tokens of the model's context; None where it isn't known
    # variables of its chat template, and all other names in there
    template_names: frozenset[str] = frozenset()
    underway: Underway = field(default_factory=Underway)  # requests that end with the server
    started: int = field(default_factory=lambda: int(time.time()))

    def allowance(self, request: ChatRequest) -> Allowance:
        """What reading the videos of a request may take."""
        pixels = max(_PIXELS, self.most_frames * _PIXELS_PER_FRAME)
        return Allowance(self.defaults.limits.time_limit, pixels // max(1, len(request.videos)))


_MIB = 1024**2
_BODIES = 4  # room on disk for request bodies, in bodies of the largest allowed size


def start_service(
    engine: Engine,
    defaults: Request,
    media: Media,
    *,
    queue: int,
    frames: int,
    body_mib: int,
    url: str,
) -> Service:
    """Load the model, and assemble the service; its engine isn't started.

    Args:
        queue: requests that wait or are answered.
        frames: of a video, whatever a request says.
        body_mib: MiB of a request.
        url: where the server listens.
    """
    engine.counts = metrics = Metrics()
    loaded = engine.load()
    engine.settled(defaults.method)  # the server never starts with one that the model can't have
    return Service(
        defaults=defaults,
        engine=engine,
        media=media,
        admission=Admission(queue, _BODIES * body_mib * _MIB, metrics),
        metrics=metrics,
        most_frames=frames,
        bodies=BodyLimits(body_mib * _MIB),
        url=url,
        context=loaded.context_length,
        template_names=names_in(loaded.processor.chat_template),
    )

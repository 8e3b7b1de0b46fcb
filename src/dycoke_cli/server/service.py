"""What the addresses of the server need."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dycoke_cli.loop.engine import Engine
from dycoke_cli.request import Request
from dycoke_cli.server.admission import Admission
from dycoke_cli.server.handles import Handles
from dycoke_cli.server.incoming import BodyLimits
from dycoke_cli.server.media import Media
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.responses.response_store import ResponseStore

if TYPE_CHECKING:
    from dycoke_cli.models.prompts.tool_calls import CallFormat


@dataclass(frozen=True)
class Service:
    """What the addresses need.

    Args:
        defaults: for all that a request doesn't say.
        engine: answers.
        media: where videos may come from.
        admission: how much is taken on.
        metrics: counts.
        most_frames: of a video.
        bodies: limits on those of requests.
        context: tokens of the model's context; None where it isn't known.
        handles: what clients call their videos.
        responses: conversations that clients may go on from.
        calls: how the model calls tools; None where it can't.
    """

    defaults: Request
    engine: Engine
    media: Media
    admission: Admission
    metrics: Metrics
    most_frames: int
    bodies: BodyLimits
    context: int | None = None
    handles: Handles = field(default_factory=Handles)
    responses: ResponseStore = field(default_factory=ResponseStore)
    calls: CallFormat | None = None
    started: int = field(default_factory=lambda: int(time.time()))

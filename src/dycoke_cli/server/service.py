"""What the addresses of the server need."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dycoke_cli.loop.engine import Engine
from dycoke_cli.request import Request
from dycoke_cli.server.admission import Admission
from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.handles import Handles
from dycoke_cli.server.incoming import BodyLimits
from dycoke_cli.server.media import Media
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.responses import ResponseStore
from dycoke_cli.server.underway import Underway

if TYPE_CHECKING:
    from dycoke_cli.models.load_options import LoadOptions
    from dycoke_cli.server.chat_request import ChatRequest
    from dycoke_cli.server.tool_calls import CallFormat

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
    context: int | None = None  # tokens of the model's context; None where it isn't known
    handles: Handles = field(default_factory=Handles)  # what clients call their videos
    # conversations that clients may go on from
    responses: ResponseStore = field(default_factory=ResponseStore)
    calls: CallFormat | None = None  # how the model calls tools; None where it can't
    # variables of its chat template, and all other names in there
    template_names: frozenset[str] = frozenset()
    underway: Underway = field(default_factory=Underway)  # requests that end with the server
    # how its model was loaded: with the dtype that was chosen; None: as `defaults` say
    loading: LoadOptions | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    def allowance(self, request: ChatRequest) -> Allowance:
        """What reading the videos of a request may take."""
        pixels = max(_PIXELS, self.most_frames * _PIXELS_PER_FRAME)
        return Allowance(self.defaults.limits.time_limit, pixels // max(1, len(request.videos)))

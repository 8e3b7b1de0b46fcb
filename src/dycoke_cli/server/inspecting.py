"""The page of the server, and the inspections that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dycoke_cli.compression.registry import METHODS
from dycoke_cli.engine.settling import settled
from dycoke_cli.inspect.inspection import PICTURE_PX, data_of, page, policy
from dycoke_cli.models.catalog import find
from dycoke_cli.models.files.on_disk import stored_config
from dycoke_cli.request import Request
from dycoke_cli.server.chat import ChatRequest
from dycoke_cli.server.refused import Refused

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession

MOST_FRAMES = 64
"""Of an inspection, which has a number for every token at every word."""
_MOST_TOKENS = 256


@dataclass(frozen=True)
class TextDelta:
    """A stretch of the answer under one of the methods that are shown."""

    method: int  # its number
    text: str  # of the answer


def shown_page(defaults: Request, most_frames: int, most_bytes: int, needs_key: bool) -> str:
    """The page with the form.

    Args:
        needs_key: whether a request must bring one; then nothing is said of the model.
    """
    most = min(most_frames, MOST_FRAMES)
    form = {
        "model": None if needs_key else defaults.model,
        "domain": None if needs_key else _domain(defaults),
        "methods": [
            {"name": name, "title": one.title, "summary": one.summary}
            for name, one in METHODS.items()
        ],
        "method": defaults.method.name,
        "frames": min(defaults.sampling.frames, most),
        "most_frames": most,
        "most_bytes": most_bytes,
        "needs_key": needs_key,
    }
    return page({"server": form}, served=True)


def _domain(defaults: Request) -> str | None:
    """The only domain that the model knows, as the bundled one does; None of any other."""
    if defaults.loading.random_weights:
        return None
    stored = stored_config(find(defaults.model))
    return stored.domain if stored is not None else None


HEADERS = {
    "Content-Security-Policy": f"{policy(served=True)}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Of the page. No other page may show it: a click in it would be one of its user."""


def checked(request: ChatRequest) -> ChatRequest:
    """A request whose answers can be inspected."""
    if request.max_tokens is not None:
        raise Refused(
            "an inspection shows the tokens of all frames; leave out dycoke.max_tokens",
            "dycoke.max_tokens",
        )
    if len(request.videos) != 1 or request.history:
        raise Refused("an inspection is of one question about one video")
    if request.has_tool_turns:
        raise Refused("tools are for POST /v1/chat/completions", "tools")
    generation = request.generation
    if request.answers > 1 or generation.tokens is not None:
        raise Refused("an inspection takes no n, stop, logprobs, top_p, top_k, min_p or penalty")
    most = min(generation.max_new_tokens, _MOST_TOKENS)
    return replace(request, stream=True, generation=replace(generation, max_new_tokens=most))


def inspected(
    request: ChatRequest, session: VideoSession, send: Callable[[TextDelta], None]
) -> dict[str, Any]:
    """Ask under each method of a request; gives the data of the page."""
    from dycoke_cli.inspect.inspection import inspect_question, pictures

    methods = (request.method, request.against)
    found = inspect_question(
        session,
        "the video",
        request.question,
        [settled(method, session.info) for method in dict.fromkeys(filter(None, methods))],
        request.generation,
        lambda number, text: send(TextDelta(number, text)),
    )
    return data_of(found, pictures(session, PICTURE_PX))

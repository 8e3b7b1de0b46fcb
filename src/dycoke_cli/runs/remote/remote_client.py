"""Client of an OpenAI-compatible server: the official one, with limits and errors as sentences.

The server isn't trusted: its response may be invalid JSON, of any size, and endless.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai

from dycoke_cli.answer.json_schema import Bounds, BoundsError, parse
from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.retries import REQUEST_RETRIES
from dycoke_cli.storage.limited_http import LimitError, limiting
from dycoke_cli.unicode import valid

TIMEOUT_S = 600.0
"""Limit for silence of the server, for the start of a response, and for its body."""
BOUNDS = Bounds(nbytes=64 * 1024**2, values=200_000)
"""Limits on a response; that on values holds for each event of a stream."""
_FIRST_RETRIES = 1  # of the first request: a wrong address is to be reported soon
_MESSAGE_CHARS = 500
_REFUSED = "invalid_request_error"
"""Type of an error in a stream, which has no HTTP status of its own."""


# A key, or a masked key in an error of the server: "sk-abcd", "sk-ab**********yz".
_KEYS = re.compile(r"(?<!\S)\S*\*{2}\S*|\bsk-\S+")


class ServerGoneError(ModelError):
    """The server can't be reached."""


class NoCompletionError(ModelError):
    """What the server answers isn't a chat completion."""


@dataclass
class ServerResponse:
    """Response of a server."""

    text: str = ""  # of the answer
    reason: str | None = None  # why it ended
    model: str = ""  # name that the server reports
    # as the server reports it; empty if it doesn't
    usage: dict[str, Any] = field(default_factory=dict)
    first_s: float | None = None  # from the request to the first text, if it was streamed
    seconds: float = 0.0  # from the request to the end


class RemoteClient:
    """Client of one server; thread-safe.

    Args:
        url: such as http://localhost:8000/v1; None for OPENAI_BASE_URL or OpenAI's.
    """

    def __init__(
        self,
        url: str | None,
        key_variable: str,
        timeout_s: float | None = None,
        retries: int | None = None,
    ) -> None:
        timeout_s = timeout_s or TIMEOUT_S
        self._variable = key_variable
        key = (
            os.environ.get(key_variable) or "none"
        )  # the client needs one, and local servers ignore it
        self._client = openai.OpenAI(
            api_key=key,
            base_url=url,
            timeout=timeout_s,
            max_retries=REQUEST_RETRIES if retries is None else retries,
            http_client=openai.DefaultHttpxClient(event_hooks=limiting(timeout_s, BOUNDS)),
        )
        self._url = url or str(self._client.base_url)
        self._models: list[str] = []

    def models(self, *, required: bool) -> list[str]:
        """Names of the served models; empty if the server has no such list and none is required."""
        client = self._client.with_options(max_retries=_FIRST_RETRIES)
        try:
            self._models = [str(model.id) for model in client.models.list()]
        except (
            openai.APIConnectionError,
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            LimitError,
        ) as error:
            raise self._explained(error) from None
        except (openai.APIError, AttributeError, TypeError, ValueError) as error:
            if required and isinstance(error, openai.NotFoundError):
                advice = "check --server, or name a model with --model"
                raise ModelError(f"{self._explained(error)}; {advice}") from None
            return []
        return self._models

    def refuses(self, body: dict[str, Any], word: str) -> bool:
        """Whether the server refuses a request with a sentence that has a word."""
        try:
            self._request(body, None)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return word in str(error)
        except (openai.APIError, LimitError, BoundsError) as error:
            raise self._explained(error) from None
        return False

    def ask(
        self, body: dict[str, Any], on_text: Callable[[str], None] | None = None
    ) -> ServerResponse:
        """Send a chat completion, and wait for the answer."""
        try:
            return self._request(body, on_text)
        except (openai.APIError, LimitError, BoundsError) as error:
            raise self._explained(error) from None
        except httpx2.HTTPError as error:  # in the middle of the body, where openai wraps nothing
            raise self._gone() from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise NoCompletionError(
                f"what {self._url} answers isn't a chat completion: check the address"
            ) from error

    def close(self) -> None:
        """Close all connections; requests in flight fail."""
        self._client.close()

    def _request(
        self, body: dict[str, Any], on_text: Callable[[str], None] | None
    ) -> ServerResponse:
        reply, began = ServerResponse(), time.perf_counter()
        if on_text is not None:
            body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        create = self._client.chat.completions.with_streaming_response.create
        with create(**body) as response:
            # By the response, not by the request: some servers ignore `stream`.
            if "event-stream" in response.headers.get("content-type", ""):
                self._follow(response.parse(), reply, began, on_text or (lambda text: None))
            else:
                _take(parse(response.read(), BOUNDS), reply)
        reply.seconds = time.perf_counter() - began
        if on_text is not None and reply.first_s is None and reply.text:
            on_text(reply.text)  # the server doesn't stream
        return reply

    def _follow(
        self, chunks: Any, reply: ServerResponse, began: float, on_text: Callable[[str], None]
    ) -> None:
        """Read a streamed answer."""
        for chunk in chunks:
            reply.model = str(chunk.model or reply.model)
            if chunk.usage is not None:
                reply.usage = chunk.usage.model_dump()
            for choice in chunk.choices:
                reply.reason = choice.finish_reason or reply.reason
                if piece := valid(choice.delta.content or ""):
                    if reply.first_s is None:
                        reply.first_s = time.perf_counter() - began
                    reply.text += piece
                    on_text(piece)
        if reply.reason is None:  # the stream ended before the answer did
            raise self._gone()

    def _explained(self, error: openai.APIError | LimitError | BoundsError) -> DycokeError:
        """The error of the client as one of ours, with a sentence for the user."""
        limit = (
            error.__cause__ if isinstance(error, openai.APIError) else error
        )  # it may be wrapped
        if isinstance(limit, (LimitError, BoundsError)):
            return DycokeError(
                f"the server gave no answer: its response isn't read, because {limit}"
            )
        assert isinstance(error, openai.APIError)
        if isinstance(error, openai.APIConnectionError):
            return self._gone()
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return ModelError(
                f"the server at {self._url} refuses the key ({status}): set {self._variable}"
            )
        key = os.environ.get(self._variable)
        message = _message(error)
        # Some servers repeat the key in their error, and errors end up in files of results.
        message = _KEYS.sub("…", message.replace(key, "…") if key else message)
        message = " ".join(message.split())[:_MESSAGE_CHARS]
        if status == 404:
            has = f" (it has {', '.join(self._models)[:200]})" if self._models else ""
            return ModelError(
                f"the server at {self._url} has no such model or path{has}: {message}"
            )
        refused = isinstance(error.body, dict) and error.body.get("type") == _REFUSED
        if refused if status is None else status < 500 and status != 429:
            return UsageError(f"the server refuses the request: {message}")
        return DycokeError(f"the server gave no answer: {message}")

    def _gone(self) -> ServerGoneError:
        return ServerGoneError(
            f"the server at {self._url} can't be reached, or has ended: check the address, and "
            "that it runs"
        )


def _message(error: openai.APIError) -> str:
    """The message in an error's body, or else the whole error."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) and message else str(error)


def _take(done: Any, reply: ServerResponse) -> None:
    """Read an answer that wasn't streamed."""
    [choice] = done["choices"]
    reply.text = valid(choice["message"]["content"] or "")
    reply.reason = choice.get("finish_reason")
    reply.model = str(done.get("model") or "")
    usage = done.get("usage")
    reply.usage = usage if isinstance(usage, dict) else {}

"""Refusals of requests: an HTTP status and a sentence, never a traceback."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect

from dycoke_cli.engine.explaining import explain
from dycoke_cli.errors import (
    ContextError,
    DycokeError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    UsageError,
    VideoError,
)

_STATUS: dict[type[DycokeError], int] = {
    UsageError: 400,
    VideoError: 400,
    ModelError: 501,
    OutOfMemoryError: 503,
}
_LONGEST = 2000
_FLAG = re.compile(r"--[a-z][a-z-]*")
_NAME = re.compile(rf"{_FLAG.pattern}|^frames\b|\b(?:max|video)_tokens\b|\b(?:start|end)_s\b")
_ABOUT = re.compile(r"((?:dycoke\.|mm_processor_kwargs\.)?[a-z_]+)(?=:| must )")
KEYS = {
    "--frames": "num_frames",
    "--max-frames": "num_frames",
    "frames": "num_frames",
    "--fps": "fps",
    "--method": "dycoke.method",
    "--video-tokens": "dycoke.video_tokens",
    "video_tokens": "dycoke.video_tokens",
    "--max-tokens": "max_tokens",
}
"""Keys of a request in place of flags of the commands, and of names of the options."""
_UNKNOWN = re.compile(r" \((?:--[a-z-]+(?:, )?)+\)|--([a-z][a-z-]*+)(?! of the server)")
"""Flags that are no keys: in brackets they are left out, and others are parameters of methods."""
_OF_SERVER = re.compile(rf"`dycoke |DYCOKE_|(?:^|\s)/\w|{_FLAG.pattern}")


class Refused(Exception):
    """A request is refused, with the response for the client.

    Args:
        parameter: path of the key that is refused, such as `stream_options.include_usage`.
    """

    def __init__(
        self,
        message: str,
        parameter: str | None = None,
        *,
        status: int = 400,
        code: str = "usage",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}
        self.parameter = parameter

    @property
    def sentence(self) -> str:
        """What a client is told; a sentence repeats what was given, which may be long."""
        return str(self)[:_LONGEST]

    @property
    def document(self) -> dict[str, Any]:
        """The object that OpenAI's clients read."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {
            "message": self.sentence,
            "type": kind,
            "param": self.parameter,
            "code": self.code,
        }
        return {"error": error}


def refused(error: BaseException, keys: Mapping[str, str] = KEYS) -> Refused:
    """The response to an error. An unexpected error's details go to the log, not to the client.

    Args:
        keys: what a request calls the flags and options that a sentence names.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, ClientDisconnect):
        return gone()
    reason = explain(error)
    if isinstance(reason, OutputError):
        # A client learns neither where the server's temporary files are, nor what is to be done.
        logging.getLogger(__name__).error("a request failed: %s", reason)
        return Refused(
            "the server has no room for the video; come back later", status=503, code="no_room"
        )
    status = next((_STATUS[one] for one in type(reason).__mro__ if one in _STATUS), None)
    if status is not None:
        sentence = in_keys(str(reason), keys)
        about = _ABOUT.match(sentence) if isinstance(reason, UsageError) else None
        code = "context_length_exceeded" if isinstance(reason, ContextError) else reason.code
        # What the server can't do it can't do a second later; clients of OpenAI ask again at 5xx.
        headers = {"X-Should-Retry": "false"} if status == 501 else None
        return Refused(
            sentence, about[1] if about else None, status=status, code=code, headers=headers
        )
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    return Refused("something went wrong; the server's log has it", status=500, code="failed")


def in_keys(sentence: str, keys: Mapping[str, str] = KEYS) -> str:
    """A sentence with keys of a request, and without what only concerns who runs the server.

    That is advice about commands and the environment, and paths of files.
    """
    first, *advice = _NAME.sub(lambda name: keys.get(name[0], name[0]), sentence).split("; ")
    first = _UNKNOWN.sub(lambda flag: (flag[1] or "").replace("-", "_"), first)
    return "; ".join([first, *(one for one in advice if not _OF_SERVER.search(one))])


def gone() -> Refused:
    """The reply to a client that has left; nobody reads it, and it is counted."""
    return Refused("the client has gone", status=499, code="gone")

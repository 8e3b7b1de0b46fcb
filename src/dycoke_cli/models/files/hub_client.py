"""Hub client with limits on the hub's documents, and with validation against path traversal.

The hub client derives file names from responses: a file's ETag is the name of its blob, a commit
the name of a folder. It accepts any text, including absolute paths and `../../x`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dycoke_cli.answer.json_bounds import Bounds
from dycoke_cli.errors import ModelError
from dycoke_cli.limited_http import HttpLimits, LimitError, limited

LIMITS = HttpLimits(seconds=300.0, bounds=Bounds(), files=True)
"""Limits on the hub's documents and errors; files are limited by the disk."""

# Headers and JSON keys whose value becomes the name of one file or folder.
_HEADERS = ("x-repo-commit", "x-linked-etag", "x-xet-hash")
_NAMES = ("sha", "oid", "blobId", "xetHash")
_PATHS = ("path", "rfilename")


@functools.cache
def check_hub_answers() -> None:
    """Install limits and validation in the hub client, for the rest of this process.

    A response that exceeds a limit, or names a file outside the client's cache, raises a
    `ModelError`.
    """
    from huggingface_hub import get_session, set_client_factory

    stock = get_session()
    kind: Any = limited(type(stock), LIMITS)

    class Checked(kind):
        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            try:
                response = super().send(request, stream=stream, **options)
            except LimitError as error:
                raise ModelError(
                    f"what the hub at {request.url.host} sends isn't read, because {error}; check "
                    "HF_ENDPOINT"
                ) from error
            try:
                for one in (*response.history, response):
                    _check_headers(one.headers, metadata=one.request.method == "HEAD")
                if not stream:  # streamed responses are file contents
                    _check_document(response)
            except BaseException:
                response.close()
                raise
            return response

    set_client_factory(
        lambda: Checked(
            event_hooks=stock.event_hooks,
            follow_redirects=stock.follow_redirects,
            timeout=stock.timeout,
        )
    )


def _check_headers(headers: Any, *, metadata: bool) -> None:
    for name in _HEADERS:
        _check_name(headers.get(name))
    if metadata:  # only a HEAD request's ETag names a blob; others may contain slashes
        _check_name(headers.get("etag"))


def _check_document(response: Any) -> None:
    try:
        document = response.json()
    except ValueError:
        return
    for key, value in _texts(document):
        if key in _NAMES:
            _check_name(value)
        elif key in _PATHS:
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts:
                raise _outside(value)


def _texts(document: Any) -> Iterator[tuple[str, str]]:
    """Yield each string of a JSON document with its key."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
            yield from ((key, text) for key, text in value.items() if isinstance(text, str))


def _check_name(value: str | None) -> None:
    """Refuse a value that isn't a plain file name, after removing the quotes of an ETag."""
    if value is None:
        return
    name = value.removeprefix("W/").strip('"')
    if name.strip("W") in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
        raise _outside(value)


def _outside(value: str) -> ModelError:
    return ModelError(
        f"the hub names a file outside its cache ({value[:60]!r}), which is never written; check "
        "HF_ENDPOINT"
    )

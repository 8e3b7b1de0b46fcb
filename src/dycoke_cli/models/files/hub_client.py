"""What a model hub answers is checked before its client makes a path of it.

The client names files after what the hub sends: the ETag of a file is the name of its blob, a
commit that of a folder. It takes any text for one, an absolute path or `../../x` included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dycoke_cli.errors import ModelError

# Of an answer's header, and of a document: what is the name of one file or folder.
_HEADERS = ("x-repo-commit", "x-linked-etag", "x-xet-hash")
_NAMES = ("sha", "oid", "blobId", "xetHash")
_PATHS = ("path", "rfilename")


@functools.cache
def check_hub_answers() -> None:
    """From now on, whatever the hub client of this process is sent is checked first.

    An answer that names a file outside the client's cache becomes a `ModelError`.
    """
    from huggingface_hub import get_session, set_client_factory

    given = get_session()
    kind: Any = type(given)  # of httpx or its successor, as the client's version has it

    class Checked(kind):
        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            response = super().send(request, stream=stream, **options)
            try:
                for one in (*response.history, response):
                    _check_headers(one.headers, metadata=one.request.method == "HEAD")
                if not stream:
                    _check_document(response)
            except BaseException:
                response.close()
                raise
            return response

    set_client_factory(
        lambda: Checked(
            event_hooks=given.event_hooks,
            follow_redirects=given.follow_redirects,
            timeout=given.timeout,
        )
    )


def _check_headers(headers: Any, *, metadata: bool) -> None:
    for name in _HEADERS:
        _check_name(headers.get(name))
    if metadata:  # only then it names a blob; others may have slashes
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
    """Each text of a document, with its key."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += value.values()
            yield from ((key, text) for key, text in value.items() if isinstance(text, str))


def _check_name(value: str | None) -> None:
    """Refuse what isn't the name of one file; the hub client takes an ETag's quotes away."""
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

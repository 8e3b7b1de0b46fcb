"""Models of the hub: its client with limits and checks of paths, and what its cache holds.

The hub client derives file names from responses: a file's ETag is the name of its blob, a commit
the name of a folder. It accepts any text, including absolute paths and `../../x`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import Bounds, Count, Doc
from dycoke_cli.errors import ModelError
from dycoke_cli.limited_http import HttpLimits, LimitError, limited
from dycoke_cli.models.files.small_files import missing_parts

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo


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

    class LimitedClient(kind):
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
        lambda: LimitedClient(
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


# Listing and removal of models in the hub client's cache; needs no torch.


@dataclass(frozen=True)
class StoredRevision:
    """A revision of a model that is on this machine."""

    commit: str | None
    names: Annotated[tuple[str, ...], Doc("Branches and tags at the time of download.")]
    folder: str
    complete: Annotated[bool, Doc("Whether its configuration and all its weights are there.")]


@dataclass(frozen=True)
class OnDisk:
    """What is on this machine of a model."""

    bytes: Count
    complete: Annotated[bool, Doc("Whether the newest revision can be loaded.")]
    revisions: Annotated[tuple[StoredRevision, ...], Doc("The newest first.", minItems=1)]


def cached_models() -> dict[str, OnDisk]:
    """Models in the hub client's cache, by hub id; empty if there is no cache yet."""
    return {repo.repo_id: _on_disk(repo) for repo in _cached_repos()}


def _cached_repos() -> list[CachedRepoInfo]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return [repo for repo in repos if repo.repo_type == "model" and repo.revisions]


def _on_disk(repo: CachedRepoInfo) -> OnDisk:
    newest_first = sorted(repo.revisions, key=lambda revision: -revision.last_modified)
    revisions = tuple(
        StoredRevision(
            one.commit_hash,
            tuple(sorted(one.refs)),
            str(one.snapshot_path),
            not missing_parts(one.snapshot_path),
        )
        for one in newest_first
    )
    return OnDisk(repo.size_on_disk, revisions[0].complete, revisions)


@dataclass(frozen=True)
class Removal:
    """Prepared removal of a model."""

    freed_bytes: int  # disk space that it frees
    execute: Callable[[], None]  # removes the files


def removal(repo: str) -> Removal:
    """Prepare to remove all revisions of a model from the hub client's cache."""
    from huggingface_hub import scan_cache_dir

    for cached in _cached_repos():
        if cached.repo_id == repo:
            commits = [revision.commit_hash for revision in cached.revisions]
            strategy = scan_cache_dir().delete_revisions(*commits)
            return Removal(strategy.expected_freed_size, strategy.execute)
    raise ModelError(
        f"{repo} isn't on this machine, so it can't be removed; `dycoke models` shows what is here"
    )

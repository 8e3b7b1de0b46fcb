"""The hub client's cache: which models are downloaded, and removing them. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dycoke_cli.errors import ModelError
from dycoke_cli.models.files.weight_files import missing_parts

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo


@dataclass(frozen=True)
class Revision:
    """One state of a repository in the hub client's cache.

    Args:
        commit: its commit.
        names: branches and tags at the time of download.
        folder: where its files are.
        complete: whether its configuration and all its weights are there.
    """

    commit: str
    names: tuple[str, ...]
    folder: Path
    complete: bool


@dataclass(frozen=True)
class CachedModel:
    """A repository in the hub client's cache.

    Args:
        repo: its hub id.
        bytes: of all its files.
        revisions: what there is of it, the newest first.
    """

    repo: str
    bytes: int
    revisions: tuple[Revision, ...]

    @property
    def complete(self) -> bool:
        """Whether the newest of its revisions can be loaded."""
        return self.revisions[0].complete


def cached_models() -> dict[str, CachedModel]:
    """The models in the hub client's cache, by hub id; none where there is no cache yet."""
    return {repo.repo_id: _cached_model(repo) for repo in _cached_repos()}


def _cached_repos() -> list[CachedRepoInfo]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return [repo for repo in repos if repo.repo_type == "model" and repo.revisions]


def _cached_model(repo: CachedRepoInfo) -> CachedModel:
    newest_first = sorted(repo.revisions, key=lambda revision: -revision.last_modified)
    return CachedModel(
        repo.repo_id,
        repo.size_on_disk,
        tuple(
            Revision(
                revision.commit_hash,
                tuple(sorted(revision.refs)),
                revision.snapshot_path,
                not missing_parts(revision.snapshot_path),
            )
            for revision in newest_first
        ),
    )


@dataclass(frozen=True)
class Removal:
    """What removing a model would do.

    Args:
        freed_bytes: how much space that gives back.
        execute: does it.
    """

    freed_bytes: int
    execute: Callable[[], None]


def removal(repo: str) -> Removal:
    """Prepare to remove all revisions of a model from the hub client's cache.

    Raises:
        ModelError: it isn't there.
    """
    from huggingface_hub import scan_cache_dir

    for cached in _cached_repos():
        if cached.repo_id == repo:
            commits = [revision.commit_hash for revision in cached.revisions]
            strategy = scan_cache_dir().delete_revisions(*commits)
            return Removal(strategy.expected_freed_size, strategy.execute)
    raise ModelError(
        f"{repo} isn't on this machine, so it can't be removed; `dycoke models` shows what is here"
    )
